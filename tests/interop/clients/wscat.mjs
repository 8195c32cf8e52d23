// wscat, the command line client: one connection for each message, as a person tries a server. Modern requests, because a connection of one
// message has no room for a handshake.
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { commandLine } from './lib/checks.mjs';

const LIMIT = 20_000;
const VERSION = '2026-07-28';
const kinds = JSON.parse(readFileSync(new URL('lib/kinds.json', import.meta.url), 'utf8'));
const { url, profile } = commandLine();
const program = `${process.env.GGEND_INTEROP_DIR}/wscat/node_modules/wscat/bin/wscat`;
let failed = 0;

/** What wscat prints in answer to one message. */
function ask(message, ...options) {
    const args = [program, '--no-color', ...options, '-c', url, '-x', JSON.stringify(message), '-w', '1'];
    return new Promise((resolve, reject) => {
        execFile(process.execPath, args, { timeout: LIMIT }, (error, out, err) =>
            error ? reject(new Error(`${error.message} ${err}`)) : resolve(JSON.parse(out.trim().split('\n').at(-1)))
        );
    });
}

function request(method, params = {}) {
    const _meta = {
        'io.modelcontextprotocol/protocolVersion': VERSION,
        'io.modelcontextprotocol/clientInfo': { name: 'wscat', version: '6' },
        'io.modelcontextprotocol/clientCapabilities': {}
    };
    return { jsonrpc: '2.0', id: 1, method, params: { ...params, _meta } };
}

async function check(name, body) {
    try {
        console.log(`ok ${name} ${await body()}`);
    } catch (error) {
        failed += 1;
        console.log(`FAIL ${name} ${error.message.replaceAll('\n', ' ')}`);
    }
}

await check('connect', async () => (await ask(request('server/discover'))).result.supportedVersions.join(' '));
await check('subprotocol', async () => (await ask(request('server/discover'), '-s', 'mcp')).result.resultType);
await check('tools', async () => {
    const { tools } = (await ask(request('tools/list'))).result;
    if (!tools.length) throw new Error('no tools');
    return tools.length;
});
await check('call', async () => {
    const { tool, args } = kinds[profile.kind].echo;
    const nonce = randomUUID();
    const filled = JSON.parse(JSON.stringify(args).replaceAll('$NONCE', nonce));
    const { content } = (await ask(request('tools/call', { name: profile.prefix + tool, arguments: filled }))).result;
    if (!content[0].text.includes(nonce)) throw new Error(JSON.stringify(content));
    return nonce;
});
await check('invalid', async () => {
    const { code } = (await ask({ jsonrpc: '2.0' })).error;
    if (code !== -32600) throw new Error(`code ${code}`);
    return code;
});
process.exit(failed ? 1 : 0);
