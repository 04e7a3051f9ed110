// The page's words in the reader's language, as the server put them into it.
const words = JSON.parse(document.getElementById("words")?.textContent ?? "{}");

export function word(key) {
  return words[key] ?? key;
}
