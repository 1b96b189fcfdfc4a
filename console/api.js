// What the page asks the gateway. Whoever is logged in no more is sent to the login, and comes back here.

/** Go to the login; the page ends. */
export function toLogin() {
  location.assign('/login?return_to=/console');
}

/** @param {string} path */
async function get(path) {
  const answer = await fetch(path, { headers: { Accept: 'application/json' } });
  if (answer.status === 401) {
    toLogin();
    // The page is about to go: nothing that waits for the answer is to run on.
    return new Promise(() => {});
  }
  if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
  return answer.json();
}

/** Who is logged in. @returns {Promise<{subject: string, name: string | null, role: string, login: boolean}>} */
export const whoami = () => get('/whoami');

/** The newest records, newest first. @param {number} count */
export const newest = async (count) => (await get(`/audit?n=${count}`)).records;

/** End the session, and go on where the gateway says: to the provider, so that it ends there as well. */
export async function logOut() {
  const answer = await fetch('/logout', { method: 'POST', headers: { 'X-Autoheal-CSRF': '1' } });
  if (!answer.ok) throw new Error(`/logout answers ${answer.status}`);
  location.assign((await answer.json()).next);
}
