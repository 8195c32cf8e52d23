// The official TypeScript SDK, v1: legacy revisions only, Streamable HTTP or (a ws:// address) WebSocket.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js';
import {
    CreateMessageRequestSchema,
    ElicitRequestSchema,
    PromptListChangedNotificationSchema,
    ResourceListChangedNotificationSchema,
    ResourceUpdatedNotificationSchema,
    ToolListChangedNotificationSchema
} from '@modelcontextprotocol/sdk/types.js';
import { commandLine, runChecks } from './lib/checks.mjs';

const client = new Client({ name: 'interop-ts-v1', version: '1.0.0' });
let transport;

const pages = {
    tools: cursor => client.listTools({ cursor }),
    prompts: cursor => client.listPrompts({ cursor }),
    resources: cursor => client.listResources({ cursor }),
    templates: cursor => client.listResourceTemplates({ cursor })
};
const changed = {
    tools: ToolListChangedNotificationSchema,
    prompts: PromptListChangedNotificationSchema,
    resources: ResourceListChangedNotificationSchema
};

await runChecks(
    {
        // The SDK handles a notification one turn later than a response: what it reads together with the answer comes too late for its own
        // progress handler. Over a socket both are often read together.
        progressLost: process.argv[2]?.startsWith('ws') ? 1 : 0,
        async connect(url) {
            const address = new URL(url);
            const isSocket = address.protocol.startsWith('ws');
            transport = isSocket ? new WebSocketClientTransport(address) : new StreamableHTTPClientTransport(address);
            // Only HTTP's transport keeps the revision; a socket has no header to put it into.
            let version = transport.protocolVersion;
            if (isSocket) transport.setProtocolVersion = agreed => (version = agreed);
            await client.connect(transport);
            return { version: version ?? transport.protocolVersion, era: 'legacy' };
        },
        async list(what) {
            const entries = [];
            let cursor;
            do {
                const page = await pages[what](cursor);
                entries.push(...(page[what === 'templates' ? 'resourceTemplates' : what]));
                cursor = page.nextCursor;
            } while (cursor !== undefined);
            return entries;
        },
        call: (name, args, { onProgress, signal } = {}) =>
            client.callTool({ name, arguments: args }, undefined, { onprogress: onProgress, signal }),
        read: uri => client.readResource({ uri }),
        prompt: (name, args) => client.getPrompt({ name, arguments: args }),
        complete: async (ref, argument) => (await client.complete({ ref, argument })).completion.values,
        watch: async (list, seen) => client.setNotificationHandler(changed[list], seen),
        async subscribe(uri, seen) {
            client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => seen(params.uri));
            await client.subscribeResource({ uri });
            return () => client.unsubscribeResource({ uri });
        },
        async interactive(url, { elicit, sample }) {
            const address = new URL(url);
            const own = address.protocol.startsWith('ws') ? new WebSocketClientTransport(address) : new StreamableHTTPClientTransport(address);
            const asked = new Client({ name: 'interop-ts-v1-asked', version: '1.0.0' }, { capabilities: { elicitation: {}, sampling: {} } });
            asked.setRequestHandler(ElicitRequestSchema, ({ params }) => elicit(params));
            asked.setRequestHandler(CreateMessageRequestSchema, ({ params }) => sample(params));
            await asked.connect(own);
            return {
                call: (name, args) => asked.callTool({ name, arguments: args }),
                async close() {
                    await own.terminateSession?.();
                    await asked.close();
                }
            };
        },
        async close() {
            await transport.terminateSession?.();
            await client.close();
        }
    },
    commandLine()
);
