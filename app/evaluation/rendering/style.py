"""How the page looks, on screens light and dark, large and small, and on paper."""

STYLE = """
:root {
  color-scheme: light; --page: #ffffff; --room: #f8fafc; --line: #e2e8f0; --text: #0f172a; --soft: #475569;
  --accent: #4f46e5; --band: #eef2ff; --other: #b6c2d2; --good: #0f766e; --bad: #be123c; --unsure: #92400e;
  --hue0: #4f46e5; --hue1: #0f766e; --hue2: #b45309; --hue3: #be185d; --hue4: #0369a1; --hue5: #334155;
}
@media screen and (prefers-color-scheme: dark) { :root {
  color-scheme: dark; --page: #0f172a; --room: #1e293b; --line: #334155; --text: #e2e8f0; --soft: #a3b1c6;
  --accent: #a5b4fc; --band: #26305a; --other: #55657d; --good: #5eead4; --bad: #fda4af; --unsure: #fcd34d;
  --hue0: #a5b4fc; --hue1: #5eead4; --hue2: #fbbf24; --hue3: #f9a8d4; --hue4: #7dd3fc; --hue5: #e2e8f0;
} }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body {
  margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line) }
.answer { font-size: 1.15rem; margin: .5rem 0 1rem }
a { color: var(--accent) }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0; margin: 0 }
.good { color: var(--good); font-weight: 600 }
.bad { color: var(--bad); font-weight: 600 }
.unsure { color: var(--unsure); font-weight: 600 }
.banner { padding: .75rem 1rem; border-left: 5px solid; background: var(--room); border-radius: 4px }
.wide { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem }
caption span { display: inline-block; position: sticky; left: 0; max-width: min(74rem, calc(100vw - 2rem)) }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: nowrap }
tbody th { font-weight: 400 }
tbody th, thead th:first-child { position: sticky; left: 0; background: var(--page) }
th:not(.n), td:not(.n) { max-width: 28rem; overflow-wrap: anywhere; min-width: 8rem }
.n { text-align: right; white-space: nowrap }
td.good, td.bad, td.unsure { min-width: 9rem }
th[scope=row] > * { width: max-content; max-width: min(22rem, 42vw) }
th[scope=row] > bdi { display: inline-block }
small { display: block; color: var(--soft); font-size: .88em; font-weight: 400 }
figure { margin: 1.25rem 0; min-width: 0 }
figcaption { color: var(--soft); font-size: .9rem; margin-bottom: .5rem }
figcaption ul { display: flex; flex-wrap: wrap; gap: .1rem 1.25rem; list-style: none; padding: 0; margin: .25rem 0 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); gap: 0 2rem }
details { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .75rem; margin: .5rem 0 }
summary { cursor: pointer }
svg { display: block; overflow: visible; font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
svg text { fill: var(--text); font-variant-numeric: tabular-nums }
svg .tick { fill: var(--soft); font-size: 11px }
.grid { stroke: var(--line) }
.zero { stroke: var(--soft) }
.band { fill: var(--band) }
.whisker { stroke: var(--soft); stroke-width: 2 }
.dot { fill: var(--page); stroke: var(--soft); stroke-width: 2 }
.dot.best { fill: var(--accent); stroke: var(--accent) }
.won { fill: var(--good) }
.lost { fill: var(--bad) }
.curve { fill: none; stroke: var(--other); stroke-width: 1.25; vector-effect: non-scaling-stroke }
.swatch { display: inline-block; vertical-align: middle; margin-right: .4rem }
.hue0 { stroke: var(--hue0); stroke-width: 2.25 }
.hue1 { stroke: var(--hue1); stroke-width: 2.25; stroke-dasharray: 9 4 }
.hue2 { stroke: var(--hue2); stroke-width: 2.25; stroke-dasharray: 2 3 }
.hue3 { stroke: var(--hue3); stroke-width: 2.25; stroke-dasharray: 9 3 2 3 }
.hue4 { stroke: var(--hue4); stroke-width: 2.25; stroke-dasharray: 5 3 }
.hue5 { stroke: var(--hue5); stroke-width: 2.25; stroke-dasharray: 14 4 }
@media print {
  @page { size: landscape; margin: 12mm }
  body { max-width: none; padding: 0; font-size: 9pt; -webkit-print-color-adjust: exact; print-color-adjust: exact }
  nav { display: none }
  .banner { padding: .75rem 1rem; border-left: 5px solid; background: var(--room); border-radius: 4px }
.wide { overflow: visible }
  caption span, tbody th, thead th:first-child { position: static }
  table { font-size: 7.5pt }
  tr, figure, .banner { break-inside: avoid }
  h2, caption, summary { break-after: avoid }
}
@media print { details::details-content { content-visibility: visible; block-size: auto } }
"""
