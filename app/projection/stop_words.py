"""Words that say nothing about what a text is about, by language; those of three letters and more."""

# ruff: noqa: RUF001 - letters of Russian look like others

from collections.abc import Mapping
from types import MappingProxyType

OF_THE_WEB = "amp com edit email fwd gmail href html http https mailto nbsp php quot subject url wrote www"
LISTS: Mapping[str, str] = MappingProxyType(
    {
        "english": (
            "able about above across after again against all almost also although always among and another any "
            "anyone anything are aren't around away became because become been before began being below between "
            "both but came can can't cannot come could couldn't did didn't different does doesn't doing don't "
            "done down due during each either else enough especially etc even ever every everything far few find "
            "first following for found four from further gave get gets getting give given gives goes going gone "
            "good got had has hasn't have haven't having her here hers herself him himself his how however i'll "
            "i'm i've indeed instead into isn't it's its itself just keep kept know known last later least less "
            "let like likely made mainly make makes making many may maybe mean might mine more most much must "
            "myself near nearly need never new next nobody none nor not nothing now obtained off often once one "
            "only onto other others otherwise our ours ourselves out over own part particular per perhaps please "
            "possible put quite rather really said same saw say says second see seem seems seen several shall she "
            "should show showed shown shows since small some somehow someone something still such take taken than "
            "that that's the their theirs them themselves then there therefore these they thing things third this "
            "those though three through throughout thus together too toward towards two under until upon use used "
            "useful uses using various very via want was wasn't way well went were what when where whether which "
            "while who whole whom whose why will with within without won't would year years yes yet you you're "
            "your yours yourself "
        ),
        "german": (
            "aber alle allem allen aller alles als also andere anderem anderen anderer anderes auch auf aus bei "
            "beim bereits bin bis bist dabei dadurch daher damit danach dann daran darauf daraus darf darin "
            "darüber das dass dazu dein deine dem den denen denn der deren des deshalb dessen dich die dies diese "
            "diesem diesen dieser dieses dir doch dort durch ein eine einem einen einer eines einige einmal erst "
            "etwa etwas euch euer für ganz gegen geht gibt hab habe haben hat hatte hatten hier hin hinter ich "
            "ihm ihn ihnen ihr ihre ihrem ihren ihrer immer ins ist jede jedem jeden jeder jedes jedoch jetzt "
            "kann kein keine keinem keinen keiner können könnte machen man manche mehr mein meine mich mir mit "
            "muss müssen nach nicht nichts noch nun nur oder ohne schon sehr sein seine seinem seinen seiner seit "
            "sich sie sind sogar solche soll sollte sondern sonst sowie und uns unser unter viel viele vom von "
            "vor wann war waren warum was weil weiter welche welcher wenn wer werde werden wie wieder will wir "
            "wird wirst wollen worden wurde wurden würde zum zur zwar zwei zwischen über "
        ),
        "french": (
            "alors après aucun aussi autre autres aux avait avant avec avoir avons bien c'est car cela celle "
            "celui ces cet cette ceux chaque comme comment dans depuis des deux doit donc dont elle elles encore "
            "entre est eux faire fait fois font ils jusqu les leur leurs lors lui mais mes moi moins mon même nos "
            "notre nous ont par parce pas peu peut plus pour pourquoi quand que quel quelle quelles quels qui "
            "sans sera ses sien soit son sont sous sur tels tes toi ton tous tout toute toutes très une vers vos "
            "votre vous étaient était été être "
        ),
        "spanish": (
            "ahora algo alguno algunos ante antes aquel aquí así aunque bajo bien cada como con contra cual "
            "cuales cuando cuyo del desde donde dos durante ella ellas ellos entre era eran esa esas ese eso esos "
            "esta estaba estado estar estas este esto estos está están fue fueron había hace hacer han hasta hay "
            "las les los mediante menos mientras mismo mucho muy más nada nos nosotros nuestra nuestro nunca otra "
            "otras otro otros para parte pero poco por porque puede pueden pues que quien qué sea según ser sido "
            "siempre sin sobre solo son sus también tan tanto tiene tienen toda todas todo todos tras una uno "
            "unos usted "
        ),
        "portuguese": (
            "ainda além aos após aquela aquele até com como contra das dela dele deles depois desde dessa desse "
            "desta deste dois dos duas durante ela elas ele eles entre era eram essa esse esta este está estão "
            "foi foram isso isto lhe mais mas mesmo meu minha muito muitos nas nem nos nossa nosso num numa não "
            "nós outra outras outro outros para pela pelas pelo pelos pode podem por porque qual quando que quem "
            "seja sem ser será seu seus sobre sua suas são também tem ter toda todas todo todos tudo têm uma umas "
            "uns você "
        ),
        "italian": (
            "agli alla alle allo altra altre altri altro anche ancora avere aveva c'è che chi come con contro "
            "cosa così cui dagli dai dal dalla dalle dallo degli dei del della delle dello dentro dopo dove due "
            "era erano essere fino fra già gli hanno lei loro lui mentre mia mio molto negli nei nel nella nelle "
            "nello noi non nostro ogni oltre per perché più poi prima può quale quali quando quanto quella quelle "
            "quelli quello questa queste questi questo qui sarà sei senza sia siamo sono sopra sotto stata stati "
            "stato sua sue sugli sui sul sulla sulle suo suoi tra tutta tutte tutti tutto una uno verso voi "
        ),
        "dutch": (
            "aan alle alleen als altijd andere ben bij boven dan dat deze die dit doch doen door dus een eens "
            "geen geweest haar had heb hebben heeft hem het hier hij hoe hun iemand iets kan kon kunnen maar meer "
            "men met mij mijn moet naar niet niets nog omdat onder ons ook over reeds tegen toch toen tot uit van "
            "veel voor want waren was wat werd wezen wie wij wil worden wordt zal zelf zich zij zijn zonder zou "
        ),
        "scandinavian": (
            "alla alle allt andra andre att bara ble blev bli blir bliver dem den denna denne der deras deres "
            "dess det detta dette dig din där efter eftersom ell eller ett fra från för hade han hans har havde "
            "hennes hon hos hun hur hva hvad hvem hver hvilken hvis hvor hvordan icke ikke inte jag jeg kan "
            "kommer kunde kunne man med meg mellan mellem men mer mere mig min mot mycket ned nej när någon något "
            "några når också oss over samma seg ser sig sin sina sine sitt själv ska skal skall skulle som sådan "
            "til till under upp utan uten vad var vara ved vem vid vil vilken ville vår være været över "
        ),
        "russian": (
            "без более был была были было быть вам вас весь вот все всего всех где даже для его если есть еще ещё "
            "здесь или как когда кто либо мне может надо наш него нее нет них однако она они оно очень под при "
            "так также такой там тем того тоже той только том уже хотя чего чей чем что чтобы чье чья эта эти это "
            "этого этой этом "
        ),
        "polish": (
            "ale bardzo bez być był była było były będzie czy dla gdy gdzie ich ile inne jak jako jego jej jest "
            "jeszcze jeśli już kiedy kto która które którego której który których którzy lub mają może nad nie "
            "niż ona one oni oraz pod ponieważ przed przez przy się swoje tak także tam tego tej ten tych tylko "
            "tym wszystko żeby "
        ),
    }
)
"""Danish, Norwegian and Swedish share one, for their texts are short of words that only one of them has."""
SHARED: Mapping[str, str] = MappingProxyType(dict.fromkeys(("danish", "norwegian", "swedish"), "scandinavian"))
STOP_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {name: frozenset(words.split()) for name, words in LISTS.items()}
)
