// Takes the merged lists with the official TypeScript client, v2: `merged.mjs URL MODE`, MODE `legacy` or `auto`.
// Run from the folder where the package is installed; prints how long each list is.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [url, mode] = process.argv.slice(2);
const client = new Client({ name: 'field', version: '1.0.0' }, { versionNegotiation: { mode } });
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const lengths = {
    tools: (await client.listTools()).tools.length,
    prompts: (await client.listPrompts()).prompts.length,
    resources: (await client.listResources()).resources.length,
    templates: (await client.listResourceTemplates()).resourceTemplates.length
};
console.log(JSON.stringify({ era: client.getProtocolEra(), lengths }));
await client.close();
process.exit(0);
