// The fixed list of checks that every SDK client goes through, written
// against a small adapter so that each SDK's program holds only what differs.
// One line a check goes to stdout: `ok NAME detail`, `FAIL NAME reason` or
// `skip NAME reason`. The Python clients do the same list in checks.py.
import { readFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';

const kinds = JSON.parse(readFileSync(new URL('kinds.json', import.meta.url), 'utf8'));

// Longest time for one check, and for the whole program, in milliseconds.
const CHECK_LIMIT = 20_000;
const TOTAL_LIMIT = 100_000;
// A client side abort has to be felt at once, and at the server soon.
const ABORT_LIMIT = 2_000;
const POLL = 100;

class Skip extends Error {}
const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
const insist = (condition, reason) => {
    if (!condition) throw new Error(reason);
};
const textOf = blocks => blocks.map(block => block.text ?? block.resource?.text ?? '').join('\n');
const fill = (value, nonce) => JSON.parse(JSON.stringify(value).replaceAll('$NONCE', nonce));

function within(limit, what, promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${what}: nothing within ${limit} ms`)), limit);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The arguments of every client program: URL and the expectation profile. */
export function commandLine() {
    const [url, json] = process.argv.slice(2);
    if (!url || !json) {
        console.error(`usage: ${process.argv[1]} URL '{"kind":"everything|python|fixture","prefix":"","era":"legacy|modern"}'`);
        process.exit(64);
    }
    return { url, profile: { prefix: '', ...JSON.parse(json) } };
}

/** Runs the list; ends the process with 0 when nothing failed. */
export async function runChecks(adapter, { url, profile }) {
    const kind = kinds[profile.kind];
    insist(kind, `unknown kind ${profile.kind}`);
    const lists = {};
    let failed = 0;
    let connected = false;

    setTimeout(() => {
        console.log(`FAIL deadline the client did not end within ${TOTAL_LIMIT} ms`);
        process.exit(1);
    }, TOTAL_LIMIT).unref();

    const check = async (name, body) => {
        if (!connected && name !== 'connect') return console.log(`skip ${name} not connected`);
        try {
            const detail = await within(CHECK_LIMIT, name, body());
            console.log(`ok ${name}${detail ? ` ${detail}` : ''}`);
        } catch (error) {
            if (error instanceof Skip) return console.log(`skip ${name} ${error.message}`);
            failed += 1;
            console.log(`FAIL ${name} ${describe(error)}`);
        }
    };
    const need = (part, what) => {
        if (!kind[part]) throw new Skip(`the ${profile.kind} server has no ${what}`);
        return kind[part];
    };
    const exposed = name => profile.prefix + name;
    const callNamed = (step, nonce, options) => adapter.call(exposed(step.tool), fill(step.args, nonce), options);

    const echo = async () => {
        const nonce = randomUUID();
        const result = await callNamed(kind.echo, nonce);
        insist(!result.isError, 'the echo tool reported an error');
        const text = textOf(result.content);
        insist(text.includes(fill(kind.echo.text, nonce)), `answer of another call: ${text}`);
    };
    // The view of all servers marks each address with its server: `<server>+<uri>`.
    const addressOf = (entries, key, wanted) => {
        const marked = `${profile.prefix.replace(/__$/, '')}+${wanted}`;
        const found = [wanted, marked].find(address => entries.some(entry => entry[key] === address));
        insist(found, `neither ${wanted} nor ${marked} is among the ${entries.length} listed`);
        return found;
    };

    await check('connect', async () => {
        const { version, era } = await adapter.connect(url);
        connected = true;
        insist(!profile.era || era === profile.era, `negotiated ${version} (${era}), expected ${profile.era}`);
        return `${version} ${era}`;
    });

    for (const list of ['tools', 'prompts', 'resources', 'templates']) {
        await check(`list-${list}`, async () => {
            const entries = await adapter.list(list);
            lists[list] = entries;
            const own = list === 'tools' || list === 'prompts' ? entries.filter(entry => entry.name.startsWith(profile.prefix)) : entries;
            insist(own.length >= kind.at_least[list], `${own.length} ${list}, expected at least ${kind.at_least[list]}`);
            const names = own.map(entry => entry.uri ?? entry.uriTemplate ?? entry.name);
            insist(new Set(names).size === names.length, `duplicate names: ${names}`);
            return `${own.length} of ${entries.length}`;
        });
    }

    await check('echo', echo);
    await check('echo-parallel', async () => {
        await Promise.all(Array.from({ length: 16 }, echo));
        return '16 at once';
    });

    await check('progress', async () => {
        const step = need('progress', 'progress tool');
        const seen = [];
        const result = await callNamed(step, randomUUID(), { onProgress: progress => seen.push(progress.progress) });
        insist(!result.isError, 'the tool reported an error');
        const least = step.at_least - (adapter.progressLost ?? 0);
        insist(seen.length >= least, `${seen.length} notifications (${seen}), expected at least ${least}`);
        insist(seen.every((value, at) => at === 0 || value > seen[at - 1]), `not increasing: ${seen}`);
        return seen.join(' ');
    });

    await check('cancel', async () => {
        const step = need('slow', 'slow tool');
        const nonce = randomUUID();
        const abort = new AbortController();
        const counted = async () => (await callNamed(kind.cancelled_count, nonce)).structuredContent[kind.cancelled_count.member];
        const before = kind.cancelled_count && (await counted());
        let begun;
        const running = new Promise(resolve => (begun = resolve));
        const call = callNamed(step, nonce, { signal: abort.signal, onProgress: () => begun() })
            .then(() => 'answered', error => error);
        if (step.announces) await Promise.race([running, call]);
        abort.abort(new Error('given up by the check'));
        const outcome = await within(ABORT_LIMIT, 'abort', call);
        insist(outcome !== 'answered', 'the call was answered before it was given up');
        insist(/given up|abort|cancel/i.test(describe(outcome)), `ended otherwise: ${describe(outcome)}`);
        await echo();
        if (!kind.was_cancelled && !kind.cancelled_count) return 'echo answers afterwards';
        for (const started = Date.now(); ; await pause(POLL)) {
            if (kind.cancelled_count && (await counted()) > before) return 'counted by the server';
            if (kind.was_cancelled) {
                const told = await callNamed(kind.was_cancelled, nonce);
                if (textOf(told.content).includes(kind.was_cancelled.text)) return 'seen by the server';
            }
            insist(Date.now() - started < 5_000, 'the server was not told within 5 s');
        }
    });

    await check('read-resource', async () => {
        const step = need('resource', 'resource');
        insist(lists.resources, 'no list of resources');
        const uri = addressOf(lists.resources, 'uri', step.uri);
        const { contents } = await adapter.read(uri);
        insist(textOf(contents).includes(step.text), `unexpected text: ${textOf(contents).slice(0, 200)}`);
        insist(contents.every(entry => entry.uri === uri), `asked for ${uri}, got ${contents.map(entry => entry.uri)}`);
        return uri;
    });

    await check('read-template', async () => {
        const step = need('template', 'resource template');
        insist(lists.templates, 'no list of templates');
        const template = addressOf(lists.templates, 'uriTemplate', step.of);
        const uri = template.slice(0, template.length - step.of.length) + step.uri;
        const { contents } = await adapter.read(uri);
        insist(textOf(contents).includes(step.text), `unexpected text: ${textOf(contents).slice(0, 200)}`);
        return uri;
    });

    await check('get-prompt', async () => {
        const step = need('prompt', 'prompt');
        const { messages } = await adapter.prompt(exposed(step.name), step.args);
        const text = textOf(messages.map(message => message.content));
        insist(text.includes(step.text), `unexpected text: ${text}`);
    });

    await check('completion', async () => {
        const step = need('completion', 'completion');
        const values = await adapter.complete({ type: 'ref/prompt', name: exposed(step.prompt) }, step.argument);
        insist(Array.isArray(values), `no list of values: ${JSON.stringify(values)}`);
        insist(!step.value || values.includes(step.value), `unexpected values: ${values}`);
        return values.join(' ');
    });

    await check('tool-error', async () => {
        const step = need('error', 'failing tool');
        const result = await callNamed(step, randomUUID()).catch(error => ({ rejected: describe(error) }));
        insist(!result.rejected, `the call was refused instead: ${result.rejected}`);
        insist(result.isError === true, 'the result does not say isError');
    });

    await check('unknown-tool', async () => {
        const outcome = await adapter.call(exposed('no-such-tool'), {}).then(result => result, error => ({ error }));
        insist(outcome.error || outcome.isError, 'a tool that does not exist was answered with success');
        return outcome.error ? `error ${outcome.error.code ?? ''}` : 'isError';
    });

    await check('list-change', async () => {
        const step = need('change', 'tool that changes a list');
        const nonce = `interop-${randomUUID().slice(0, 8)}`;
        let seen = false;
        const stop = await adapter.watch(step.list, () => (seen = true));
        try {
            // The stream that carries the notification opens on its own time:
            // make the change again until one is seen.
            for (const started = Date.now(); !seen; ) {
                insist(Date.now() - started < 12_000, 'no list_changed notification within 12 s');
                await callNamed(step, nonce);
                for (let waited = 0; !seen && waited < 1_500; waited += POLL) await pause(POLL);
            }
            if (!step.listed) return 'notified';
            const name = fill(step.listed, nonce);
            for (const started = Date.now(); ; await pause(POLL)) {
                const entries = await adapter.list(step.list);
                if (entries.some(entry => entry.name === name || entry.name.endsWith(name))) return 'notified and listed';
                insist(Date.now() - started < 5_000, 'notified, but the new entry is not listed within 5 s');
            }
        } finally {
            await stop?.();
        }
    });

    await check('subscribe', async () => {
        const step = need('watch', 'resource that changes');
        insist(lists.resources, 'no list of resources');
        const uri = addressOf(lists.resources, 'uri', step.uri);
        const seen = [];
        const stop = await adapter.subscribe(uri, changed => seen.push(changed));
        try {
            // As above: the stream opens on its own time.
            for (const started = Date.now(); !seen.includes(uri); ) {
                insist(Date.now() - started < 12_000, `no notifications/resources/updated for ${uri} within 12 s; seen: ${seen}`);
                const { content } = await callNamed(step, randomUUID());
                if (step.again && textOf(content).includes(step.again)) continue;
                for (let waited = 0; !seen.includes(uri) && waited < 1_500; waited += POLL) await pause(POLL);
            }
        } finally {
            await stop?.();
        }
        return `${uri} updated`;
    });

    // A connection of its own, because what a client declares is said once: this one can be asked for something.
    if (adapter.interactive) {
        const questions = [];
        let answer;
        let asking;
        const asked = async (name, ask) => {
            const step = need(name, `tool that needs ${name === 'elicit' ? 'elicitation' : 'sampling'}`);
            asking ??= await adapter.interactive(url, {
                elicit: params => (questions.push(params), { action: 'accept', content: answer }),
                sample: params => {
                    questions.push(params);
                    const content = { type: 'text', text: 'interop-sampled' };
                    return { role: 'assistant', model: 'interop', stopReason: 'endTurn', content };
                }
            });
            const nonce = randomUUID();
            answer = fill(step.answer ?? {}, nonce);
            questions.length = 0;
            const result = await asking.call(exposed(step.tool), fill(step.args, nonce));
            insist(!result.isError, `the tool reported an error: ${textOf(result.content)}`);
            const text = textOf(result.content);
            insist(text.includes(fill(step.text, nonce)), `the answer is not in the result: ${text.slice(0, 200)}`);
            insist(questions.length === 1, `asked ${questions.length} times`);
            const question = JSON.stringify(questions[0]);
            insist(!step.asks || question.includes(fill(step.asks, nonce)), `asked for something else: ${question}`);
            return ask;
        };
        await check('elicit', () => asked('elicit', 'elicitation/create'));
        await check('sample', () => asked('sample', 'sampling/createMessage'));
        await check('close-asked', () => asking?.close());
    }

    await check('close', () => adapter.close());
    process.exit(failed ? 1 : 0);
}

/** An error and its causes on one line. */
function describe(error) {
    const parts = [];
    for (let at = error; at && parts.length < 4; at = at.cause) {
        parts.push(`${at.code !== undefined ? `[${at.code}] ` : ''}${at.message ?? at}`);
    }
    return parts.join(' <- ').replaceAll('\n', ' ').slice(0, 400);
}
