// Lets the programs of this folder import packages that are installed
// elsewhere: a bare specifier is looked up in $GGEND_INTEROP_DIR/clients.
// Loaded with `node --import`, before the program itself.
import { registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';

const cache = process.env.GGEND_INTEROP_DIR;
if (!cache) throw new Error('GGEND_INTEROP_DIR is not set: run through tests/interop/client');
const packages = pathToFileURL(`${cache}/clients/`).href;
const here = new URL('..', import.meta.url).href;

registerHooks({
    resolve(specifier, context, next) {
        const bare = !/^(\.|\/|node:|file:|data:)/.test(specifier);
        const ours = context.parentURL?.startsWith(here);
        return next(specifier, bare && ours ? { ...context, parentURL: packages } : context);
    }
});
