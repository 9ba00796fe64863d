/** Takes the credentials out of URLs: drivers and configurations put them into their messages. */
export function redact(text: string): string {
  return text
    .replace(/\b([a-z][a-z\d+.-]*:\/\/)[^\s/@'"]*@/gi, '$1***@')
    .replace(/\b(password|passwd|pwd)(["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&"']+)/gi, '$1$2***')
}
