// Asks for an API key, once; what stays in the browser is a cookie that no script can read.

import {call} from "./api.js";
import {command, make, show} from "./dom.js";

export async function findSession(code) {
  if (code) {
    try {
      return await call("POST", "/session", {body: {code}});
    } catch (error) {
      if (!["sign_in_code_unknown", "too_many_tries"].includes(error.code)) throw error;
      // whoever is signed in already opens an old address without harm
      const found = await findSession().catch(() => null);
      if (found) return found;
      throw error;
    }
  }
  try {
    return await call("GET", "/session");
  } catch (error) {
    if (error.status === 401) return null;
    throw error;
  }
}

export function askForKey(room, reason, signedIn) {
  const key = make("input", {
    id: "key", type: "password", autocomplete: "current-password", required: true, maxlength: "512", spellcheck: "false",
  });
  const trouble = make("p", {class: "trouble", role: "alert"}, reason ?? "");
  const button = make("button", {class: "main", type: "submit"}, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    trouble.textContent = "";
    try {
      const session = await call("POST", "/session", {body: {api_key: key.value.trim()}});
      key.value = "";
      signedIn(session);
    } catch (error) {
      trouble.textContent = error.message;
      button.disabled = false;
      key.select();
    }
  };
  show(room, make("section", {class: "sign-in"},
    make("h1", {}, "Sign in"),
    make("form", {onsubmit: submit},
      make("label", {for: "key"}, "API key"), key, trouble, button),
    make("p", {class: "soft"}, "On the machine that runs Vecloom, this prints an address that signs in by itself:"),
    command("vecloom page")));
  key.focus();
}
