// Every request of the program on a connection of its own (`node --import`), so that each of them may meet another worker of the gateway.
const fetched = globalThis.fetch;

globalThis.fetch = (input, init = {}) => {
    const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined));
    headers.set('connection', 'close');
    return fetched(input, { ...init, headers });
};
