// An independent authorization server, oidc-provider, with an API behind it.
//
// Refresh tokens rotate. A token that is presented twice ends its grant, as the provider does by itself. The ledger has a digest of
// each refresh token that was presented.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

export const CLIENT_ID = 'proxy';
export const CLIENT_SECRET = 'oidc-secret-7Yd2mQ';

export async function start(authMethod) {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(origin, {
    clients: [
      {
        client_id: CLIENT_ID,
        client_secret: CLIENT_SECRET,
        application_type: 'native',
        redirect_uris: ['http://127.0.0.1/callback'],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: authMethod,
      },
    ],
    scopes: ['openid', 'offline_access'],
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    ttl: { AccessToken: 3600, RefreshToken: 86400, Grant: 86400, Session: 3600, Interaction: 600, AuthorizationCode: 60, IdToken: 3600 },
    findAccount: async (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  });
  const ledger = { presented: [], twice: 0, issued: 0, live: undefined };
  provider.on('access_token.saved', (token) => {
    ledger.issued += 1;
    ledger.live = token;
  });
  const answer = provider.callback();
  server.on('request', async (request, response) => {
    const { pathname } = new URL(request.url, origin);
    try {
      if (pathname.startsWith('/interaction/')) return await agree(provider, request, response);
      if (pathname.startsWith('/api/')) return await api(provider, request, response);
      if (pathname === '/token') note(request, ledger);
      return answer(request, response);
    } catch (error) {
      response.writeHead(500).end(String(error));
    }
  });
  return { origin, ledger, close: () => server.close() };
}

// The person says yes to everything.
async function agree(provider, request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: 'ana' } });
  }
  const grant = (grantId && (await provider.Grant.find(grantId))) || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? 'openid offline_access');
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

async function api(provider, request, response) {
  const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
  const found = await provider.AccessToken.find(token);
  response.writeHead(found && !found.isExpired ? 200 : 401, { 'content-type': 'application/json' }).end('{}');
}

// Reads along with the provider.
function note(request, ledger) {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const token = new URLSearchParams(Buffer.concat(chunks).toString()).get('refresh_token');
    if (!token) return;
    const digest = createHash('sha256').update(token).digest('hex');
    if (ledger.presented.includes(digest)) ledger.twice += 1;
    ledger.presented.push(digest);
  });
}
