// The OAuth 2.1 flow of an MCP client against ggend, with oidc-provider as the
// authorization server. Starts both, ends both by their process id.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const require = createRequire(join(process.env.GGEND_INTEROP_DIR, 'oidc', 'package.json'))
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')))

let passed = 0
let failed = 0
const check = (name, good, detail = '') => {
  good ? passed++ : failed++
  console.log(`${good ? 'ok  ' : 'FAIL'} ${name}${good ? '' : `   ${detail}`}`)
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

const [issuerPort, port] = [await freePort(), await freePort()]
const issuer = `http://127.0.0.1:${issuerPort}`
const resource = `http://127.0.0.1:${port}/mcp`
const client = { client_id: 'interop', client_secret: 'only-for-this-run' }

const provider = new Provider(issuer, {
  clients: [{ ...client, grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }],
  scopes: ['mcp:use', 'mcp:more'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, audience) => ({
        audience,
        scope: 'mcp:use mcp:more',
        accessTokenTTL: 60,
        accessTokenFormat: 'jwt',
      }),
    },
  },
})
const authority = provider.listen(issuerPort, '127.0.0.1')

const place = mkdtempSync(join(tmpdir(), 'ggend-oauth-'))
const config = join(place, 'mcp.json')
writeFileSync(
  config,
  JSON.stringify({
    transports: { http: { port } },
    metrics: { enabled: false },
    auth: { required: true, oauth2: { issuer, audience: resource, scopes: ['mcp:use'] } },
  }),
  { mode: 0o600 },
)
const daemon = spawn(process.env.GGEND, ['--config', config, '--socket', join(place, 'sock')], {
  env: { PATH: process.env.PATH, HOME: place, GGEN_STATE_DIR: join(place, 'state') },
  stdio: ['ignore', 'inherit', 'inherit'],
})
const ended = new Promise((resolve) => daemon.on('exit', resolve))

const post = (token, method = 'tools/list') =>
  fetch(resource, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      Accept: 'application/json, text/event-stream',
      'MCP-Protocol-Version': '2026-07-28',
      'Mcp-Method': method,
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method,
      params: {
        _meta: {
          'io.modelcontextprotocol/protocolVersion': '2026-07-28',
          'io.modelcontextprotocol/clientCapabilities': {},
          'io.modelcontextprotocol/clientInfo': { name: 'oauth', version: '1' },
        },
      },
    }),
  })

const parameter = (challenge, name) => new RegExp(`${name}="([^"]*)"`).exec(challenge)?.[1]

const tokenFor = async (endpoint, audience, scope) => {
  const form = { grant_type: 'client_credentials', resource: audience, ...client, ...(scope ? { scope } : {}) }
  const answer = await (await fetch(endpoint, { method: 'POST', body: new URLSearchParams(form) })).json()
  if (!answer.access_token) throw new Error(`no token: ${JSON.stringify(answer)}`)
  return answer.access_token
}

try {
  const deadline = Date.now() + 30_000
  for (;;) {
    const up = await fetch(`http://127.0.0.1:${port}/health`).then((answer) => answer.ok, () => false)
    if (up) break
    if (Date.now() > deadline) throw new Error('ggend does not serve')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }

  const first = await post()
  const challenge = first.headers.get('www-authenticate') ?? ''
  check('without a token: 401', first.status === 401, first.status)
  check('the challenge names the scope', parameter(challenge, 'scope') === 'mcp:use', challenge)
  const address = parameter(challenge, 'resource_metadata')
  check('the challenge names the metadata', address === `http://127.0.0.1:${port}/.well-known/oauth-protected-resource/mcp`, challenge)

  const metadata = await (await fetch(address)).json()
  check('the metadata is of this resource', metadata.resource === resource, JSON.stringify(metadata))
  check('the metadata names the issuer', metadata.authorization_servers?.[0] === issuer, JSON.stringify(metadata))
  // RFC 9728: the document of a view names that view.
  for (const [path, named] of [['', resource], ['/mcp/core', `${resource}/core`]]) {
    const other = await fetch(`http://127.0.0.1:${port}/.well-known/oauth-protected-resource${path}`)
    check(`the metadata stands at ${path || 'the root'} too`, other.ok && (await other.json()).resource === named)
  }
  const found = await (await fetch(`${metadata.authorization_servers[0]}/.well-known/openid-configuration`)).json()

  const good = await tokenFor(found.token_endpoint, metadata.resource, 'mcp:use')
  const answer = await post(good)
  const body = await answer.text()
  check('a token for this gateway is taken', answer.status === 200 && body.includes('"tools"'), `${answer.status} ${body}`)
  check('again, from the keys that are known', (await post(good)).status === 200)

  const poor = await post(await tokenFor(found.token_endpoint, metadata.resource, 'mcp:more'))
  const stepUp = poor.headers.get('www-authenticate') ?? ''
  check('without the scope: 403', poor.status === 403, poor.status)
  check('the step up is named', parameter(stepUp, 'error') === 'insufficient_scope' && parameter(stepUp, 'scope') === 'mcp:use', stepUp)

  const elsewhere = await post(await tokenFor(found.token_endpoint, 'http://127.0.0.1:1/mcp', 'mcp:use'))
  check('a token for another service is refused', elsewhere.status === 401, elsewhere.status)

  const [head, payload, signature] = good.split('.')
  const forged = `${head}.${payload}.${signature[0] === 'A' ? 'B' : 'A'}${signature.slice(1)}`
  const refused = await post(forged)
  const error = (await refused.json()).error
  check('a forged token is refused', refused.status === 401 && error.message === 'Invalid signature', JSON.stringify(error))
} catch (error) {
  check('the flow', false, error.stack)
} finally {
  daemon.kill('SIGTERM')
  await ended
  authority.close()
  authority.closeAllConnections()
  rmSync(place, { recursive: true, force: true })
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed ? 1 : 0)
