// What the `client` scenarios of the conformance suite want done, by a client in front of the gateway: the scenario watches the gateway's other side.
//   upstream.mjs legacy|pin URL SCENARIO
// MCP_CONFORMANCE_CONTEXT is the scenario's own.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [mode, url, scenario] = process.argv.slice(2);
// Only who can be asked declares it: a session of its own would be begun for the call otherwise.
const asks = ['elicitation-sep1034-client-defaults', 'sep-2322-client-request-state'].includes(scenario);
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT || '{}');
const client = new Client(
    { name: 'interop-upstream', version: '1.0.0' },
    {
        versionNegotiation: { mode: mode === 'pin' ? { pin: '2026-07-28' } : mode },
        capabilities: asks ? { elicitation: { form: { applyDefaults: true } } } : {}
    }
);
// An accepted form without values: the defaults are the client's to fill in.
if (asks) client.setRequestHandler('elicitation/create', ({ params }) => {
    const asked = params.requestedSchema?.properties ?? {};
    return { action: 'accept', content: 'confirmed' in asked ? { confirmed: true } : {} };
});
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const { tools } = await client.listTools();
const call = (name, args = {}) => client.callTool({ name, arguments: args });
const named = name => {
    const tool = tools.find(tool => tool.name === name);
    if (!tool) throw new Error(`no tool ${name}, only ${tools.map(tool => tool.name)}`);
    return tool;
};

switch (scenario) {
    case 'json-schema-2020-12-preservation':
        await call('json_schema_echo', { schema: named('json_schema_2020_12_tool').inputSchema });
        break;
    case 'http-custom-headers':
        for (const step of context.toolCalls) await call(named(step.name).name, step.arguments);
        break;
    case 'http-invalid-tool-headers':
        // Also the tools that must be gone: they may be neither listed nor called.
        if (tools.length !== 1) throw new Error(`listed: ${tools.map(tool => tool.name)}`);
        await call(named('valid_tool').name, { region: 'eu' });
        for (const name of ['invalid_empty_header', 'invalid_space_in_name', 'invalid_array_header']) {
            const answer = await call(name, {}).then(() => 'answered', () => 'refused');
            if (answer !== 'refused') throw new Error(`${name} was called`);
        }
        break;
    case 'http-standard-headers': {
        await call(named('my-hyphenated-tool').name);
        const { resources } = await client.listResources();
        await client.readResource({ uri: resources[0].uri });
        const { prompts } = await client.listPrompts();
        await client.getPrompt({ name: prompts[0].name });
        break;
    }
    case 'sep-2322-client-request-state':
        // At the same time: the state of one call must not get into another one.
        await Promise.all(['test_mrtr_echo_state', 'test_mrtr_no_state', 'test_mrtr_unrelated'].map(name => call(named(name).name)));
        await call(named('test_mrtr_no_result_type').name);
        break;
    case 'tools_call':
        await call(named('add_numbers').name, { a: 5, b: 3 });
        break;
    case 'sse-retry':
    case 'elicitation-sep1034-client-defaults':
        await call(tools[0].name);
        break;
    default:
        // The rest is watched without a call.
        break;
}
await client.close();
process.exit(0);
