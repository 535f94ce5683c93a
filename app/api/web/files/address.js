// What the page shows, as its address says it: #view=search&collection=papers&q=…; a reload or a link shows the same.

const USUAL = {view: "search", mode: "hybrid"};

export function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  return {...USUAL, ...Object.fromEntries(said)};
}

export function writeAddress(changes) {
  const state = {...readAddress(), ...changes};
  const said = Object.entries(state).filter(([name, value]) => value && value !== USUAL[name]);
  return "#" + new URLSearchParams(said);
}

export function go(changes) {
  const address = writeAddress(changes);
  // the same once more is asked once more
  if (address === (location.hash || "#")) window.dispatchEvent(new Event("hashchange"));
  else location.hash = address;
}

// The code of a sign-in address, once: it is taken out of the address and of the history at once.
export function takeCode() {
  const {code} = readAddress();
  if (code) history.replaceState(null, "", writeAddress({code: ""}));
  return code;
}
