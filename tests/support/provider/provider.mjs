// A real OpenID provider on loopback, for the end-to-end tests. What it is, a JSON file says, which SIGHUP has it read
// again: its keys, its clients, its people. What it has handed out stays good: the store outlives the reading.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const file = process.argv[2];
let answer;

function read() {
  const told = JSON.parse(readFileSync(file, 'utf8'));
  const provider = new Provider(told.issuer, {
    clients: told.clients,
    jwks: { keys: told.keys },
    cookies: { keys: ['a key for tests'] },
    // Roles stand in the ID token itself, as most providers can be told to put them.
    conformIdTokenClaims: false,
    claims: { openid: ['sub'], profile: ['name', 'roles'] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...told.people[id] }) }),
    extraTokenClaims: (_, token) => ({ roles: told.roles[token.clientId] }),
    issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
    ttl: told.ttl,
    features: {
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, audience) => ({
          audience, scope: '', accessTokenFormat: 'jwt', accessTokenTTL: told.ttl.ClientCredentials,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  answer = provider.callback();
}

read();
process.on('SIGHUP', () => { read(); console.log('read again'); });
createServer((request, response) => answer(request, response)).listen(Number(process.argv[3]), '127.0.0.1');
