// On the way to the login: the place in the console is kept in this tab, for no server is ever told of it.

try {
  sessionStorage.setItem('autoheal.place', location.hash);
} catch {
  // A browser that keeps nothing: the console then begins with its first view.
}
location.replace('/login?return_to=/console');
