// MCP Inspector in its command line mode: one process for each method, as a
// person at a terminal would use it. The first argument is the protocol era
// it is told to negotiate (`legacy` or `modern`).
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';

const [era, url, json] = process.argv.slice(2);
const { GGEND_INTEROP_DIR } = process.env;
if (!GGEND_INTEROP_DIR || !url || !json) {
    console.error('usage: inspector.mjs legacy|modern URL PROFILE (through tests/interop/client)');
    process.exit(64);
}
const profile = { prefix: '', ...JSON.parse(json) };
const kind = JSON.parse(readFileSync(new URL('lib/kinds.json', import.meta.url), 'utf8'))[profile.kind];
const program = `${GGEND_INTEROP_DIR}/inspector/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js`;
const LIMIT = 20_000;

// The result of one method, or an Error with what the Inspector printed.
function inspect(...args) {
    const all = [program, '--cli', url, '--transport', 'http', '--protocol-era', era, '--format', 'json', '--quiet', ...args];
    return new Promise((resolve, reject) => {
        execFile(process.execPath, all, { timeout: LIMIT, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
            if (error) return reject(new Error(`exit ${error.code ?? error.signal}: ${(stderr || stdout).trim().slice(0, 300)}`));
            try {
                resolve(JSON.parse(stdout).result);
            } catch {
                reject(new Error(`no JSON: ${stdout.slice(0, 300)}`));
            }
        });
    });
}

let failed = 0;
async function check(name, body) {
    try {
        console.log(`ok ${name} ${(await body()) ?? ''}`);
    } catch (error) {
        failed += 1;
        console.log(`FAIL ${name} ${error.message.replaceAll('\n', ' ')}`);
    }
}
function insist(condition, reason) {
    if (!condition) throw new Error(reason);
}
async function counted(method, member, least) {
    const result = await inspect('--method', method);
    insist(Array.isArray(result[member]), `no list of ${member}`);
    const own = ['tools', 'prompts'].includes(member) ? result[member].filter(entry => entry.name.startsWith(profile.prefix)) : result[member];
    insist(own.length >= least, `${own.length} ${member}, expected at least ${least}`);
    return `${own.length} of ${result[member].length}`;
}

await check('list-tools', () => counted('tools/list', 'tools', kind.at_least.tools));
await check('list-prompts', () => counted('prompts/list', 'prompts', kind.at_least.prompts));
await check('list-resources', () => counted('resources/list', 'resources', kind.at_least.resources));
await check('list-templates', () => counted('resources/templates/list', 'resourceTemplates', kind.at_least.templates));
await check('echo', async () => {
    const args = JSON.parse(JSON.stringify(kind.echo.args).replaceAll('$NONCE', 'from the Inspector'));
    const result = await inspect('--method', 'tools/call', '--tool-name', profile.prefix + kind.echo.tool, '--tool-args-json', JSON.stringify(args));
    insist(!result.isError, 'the echo tool reported an error');
    const text = result.content.map(block => block.text).join('\n');
    insist(text.includes(kind.echo.text.replaceAll('$NONCE', 'from the Inspector')), `unexpected text: ${text}`);
});
await check('read-resource', async () => {
    const { resources } = await inspect('--method', 'resources/list');
    // The view of all servers marks each address with its server.
    const marked = `${profile.prefix.replace(/__$/, '')}+${kind.resource.uri}`;
    const found = resources.find(entry => entry.uri === kind.resource.uri) ?? resources.find(entry => entry.uri === marked);
    insist(found, `neither ${kind.resource.uri} nor ${marked} is listed`);
    const { contents } = await inspect('--method', 'resources/read', '--uri', found.uri);
    insist(contents.map(entry => entry.text).join('\n').includes(kind.resource.text), 'unexpected text');
    return found.uri;
});
await check('get-prompt', async () => {
    const pairs = Object.entries(kind.prompt.args).map(([key, value]) => `${key}=${value}`);
    const result = await inspect('--method', 'prompts/get', '--prompt-name', profile.prefix + kind.prompt.name, '--prompt-args', ...pairs);
    const text = result.messages.map(message => message.content.text).join('\n');
    insist(text.includes(kind.prompt.text), `unexpected text: ${text}`);
});
process.exit(failed ? 1 : 0);
