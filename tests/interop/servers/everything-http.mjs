// Starts @modelcontextprotocol/server-everything over Streamable HTTP (or, with the
// argument `sse`, over the deprecated HTTP+SSE), on loopback only and (with PORT=0) on a port of the kernel's choosing; the
// package itself listens on every address of a fixed port. Prints
// `listening on http://127.0.0.1:PORT/mcp`, as ggend-fixture does.
import { Server } from 'node:net';
import { pathToFileURL } from 'node:url';

const { GGEND_INTEROP_DIR } = process.env;
if (!GGEND_INTEROP_DIR) throw new Error('GGEND_INTEROP_DIR is not set');
process.env.PORT ??= '0';
const sse = process.argv[2] === 'sse';

const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
    this.once('listening', () => process.stdout.write(`listening on http://127.0.0.1:${this.address().port}/${sse ? 'sse' : 'mcp'}\n`));
    return listen.call(this, Number(port), '127.0.0.1', ...rest);
};

const entry = `${GGEND_INTEROP_DIR}/everything/node_modules/@modelcontextprotocol/server-everything/dist/index.js`;
process.argv[2] = sse ? 'sse' : 'streamableHttp';
await import(pathToFileURL(entry).href);
