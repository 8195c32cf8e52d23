// The official TypeScript client, v2. The first argument is its mode:
// `legacy` (plain initialize), `auto` (asks server/discover first, as a host
// that knows both eras does) or `pin` (2026-07-28 or nothing).
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { commandLine, runChecks } from './lib/checks.mjs';

const [mode] = process.argv.splice(2, 1);
const versionNegotiation = { mode: mode === 'pin' ? { pin: '2026-07-28' } : mode };
const client = new Client({ name: `interop-ts-v2-${mode}`, version: '1.0.0' }, { versionNegotiation });
let transport;

const lists = {
    tools: async () => (await client.listTools()).tools,
    prompts: async () => (await client.listPrompts()).prompts,
    resources: async () => (await client.listResources()).resources,
    templates: async () => (await client.listResourceTemplates()).resourceTemplates
};

await runChecks(
    {
        async connect(url) {
            transport = new StreamableHTTPClientTransport(new URL(url));
            await client.connect(transport);
            return { version: client.getNegotiatedProtocolVersion(), era: client.getProtocolEra() };
        },
        list: what => lists[what](),
        call: (name, args, { onProgress, signal } = {}) =>
            client.callTool({ name, arguments: args }, { onprogress: onProgress, signal }),
        read: uri => client.readResource({ uri }),
        prompt: (name, args) => client.getPrompt({ name, arguments: args }),
        complete: async (ref, argument) => (await client.complete({ ref, argument })).completion.values,
        async watch(list, seen) {
            client.setNotificationHandler(`notifications/${list}/list_changed`, seen);
            if (client.getProtocolEra() !== 'modern') return;
            const wanted = `${list}ListChanged`;
            const subscription = await client.listen({ [wanted]: true });
            if (!subscription.honoredFilter[wanted]) throw new Error(`${wanted} is not in the acknowledged filter`);
            return () => subscription.close();
        },
        async subscribe(uri, seen) {
            client.setNotificationHandler('notifications/resources/updated', ({ params }) => seen(params.uri));
            if (client.getProtocolEra() !== 'modern') {
                await client.subscribeResource({ uri });
                return () => client.unsubscribeResource({ uri });
            }
            const subscription = await client.listen({ resourceSubscriptions: [uri] });
            const honoured = subscription.honoredFilter.resourceSubscriptions ?? [];
            if (!honoured.includes(uri)) throw new Error(`${uri} is not in the acknowledged filter`);
            return () => subscription.close();
        },
        async interactive(url, { elicit, sample }) {
            const own = new StreamableHTTPClientTransport(new URL(url));
            const capabilities = { elicitation: {}, sampling: {} };
            const asked = new Client({ name: `interop-ts-v2-${mode}-asked`, version: '1.0.0' }, { versionNegotiation, capabilities });
            asked.setRequestHandler('elicitation/create', ({ params }) => elicit(params));
            asked.setRequestHandler('sampling/createMessage', ({ params }) => sample(params));
            await asked.connect(own);
            return {
                call: (name, args) => asked.callTool({ name, arguments: args }),
                async close() {
                    if (asked.getProtocolEra() === 'legacy') await own.terminateSession();
                    await asked.close();
                }
            };
        },
        async close() {
            if (client.getProtocolEra() === 'legacy') await transport.terminateSession();
            await client.close();
        }
    },
    commandLine()
);
