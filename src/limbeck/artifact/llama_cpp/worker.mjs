// Answers about one GGUF file with llama.cpp: a JSON object a line in, one a line out.
//   node worker.mjs NODE_MODULES MODEL.gguf '{"threads": 1, "context": 512, "cache": "F16"}'
// It builds and downloads nothing: what npm has installed is all it takes.
import {createInterface} from "node:readline";
import {pathToFileURL} from "node:url";

const [folder, model_path, told] = process.argv.slice(2);
const settings = JSON.parse(told);
const entry = folder + "/node-llama-cpp/dist/index.js";
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry));

// Every answer tells what the process has taken so far.
const reply = (value) => {
    const {userCPUTime, systemCPUTime, maxRSS} = process.resourceUsage();
    const taken = {cpu_ms: (userCPUTime + systemCPUTime) / 1000, peak_mb: maxRSS / 1024};
    process.stdout.write(JSON.stringify({...value, taken}) + "\n");
};

const llama = await getLlama({
    build: "never",
    gpu: false,
    skipDownload: true,
    progressLogs: false,
    maxThreads: settings.threads,
    logLevel: LlamaLogLevel.error,
    logger: (level, message) => process.stderr.write(message + "\n"),
});
const model = await llama.loadModel({modelPath: model_path, gpuLayers: 0});
const context = await model.createContext({
    contextSize: settings.context,
    batchSize: settings.batch,
    threads: settings.threads,
    flashAttention: settings.flash,
    experimentalKvCacheKeyType: settings.cache,
    experimentalKvCacheValueType: settings.cache,
});
const sequence = context.getSequence();

// Reads tokens behind the first `past` that were read before; what each of `places` among them gives.
async function read({past, tokens, places}, options) {
    if (past === 0) {
        await sequence.clearHistory();
    } else if (sequence.nextTokenIndex > past) {
        await sequence.eraseContextTokenRanges([{start: past, end: sequence.nextTokenIndex}]);
    }
    const asked = new Map(places.map((place, index) => [place, index]));
    const input = tokens.map((token, place) => asked.has(place)
        ? [token, {generateNext: options(asked.get(place))}]
        : token);
    const found = await sequence.controlledEvaluate(input);
    return places.map((place) => found[place].next);
}

// After each of some places: the log-probability of a label, and what greedy decoding says.
async function score(given) {
    const found = await read(given, (index) => ({
        logits: {filter: {tokens: [given.labels[index]], includeTop: 1}},
        totalLogitWeight: true,
    }));
    const log_probabilities = [], greedy = [];
    found.forEach((next, index) => {
        const [best, highest] = [...next.logits].reduce((a, b) => (b[1] > a[1] ? b : a));
        const logit = next.logits.get(given.labels[index]);
        log_probabilities.push(logit - highest - Math.log(next.totalLogitWeight));
        greedy.push(best);
    });
    return {log_probabilities, greedy};
}

// All logits after each of some places: float32, one row behind the other, in base64.
async function logits(given) {
    const found = await read(given, () => ({logits: true}));
    const width = found[0].logits.size;
    const rows = new Float32Array(found.length * width);
    found.forEach((next, index) => {
        for (const [token, value] of next.logits) rows[index * width + token] = value;
    });
    return {width, logits: Buffer.from(rows.buffer).toString("base64")};
}

// The tokens that greedy decoding says after a prompt, and how long reading and saying took.
async function generate({tokens, most}) {
    await sequence.clearHistory();
    const options = {logits: {filter: {includeTop: 1}}};
    const begin = performance.now();
    if (tokens.length > 1) await sequence.controlledEvaluate(tokens.slice(0, -1));
    const read = performance.now();
    const said = [];
    let last = tokens.at(-1);
    while (said.length < most) {
        const found = await sequence.controlledEvaluate([[last, {generateNext: options}]]);
        [last] = found.at(-1).next.logits.keys();
        said.push(last);
        if (model.isEogToken(last)) break;
    }
    const end = performance.now();
    return {tokens: said, read_ms: read - begin, say_ms: end - read};
}

const verbs = {
    score,
    logits,
    generate,
    tokenize: ({text, special}) => ({tokens: model.tokenize(text, special)}),
    memory: () => ({resident_bytes: process.memoryUsage().rss}),
};

reply({
    ready: true,
    vocabulary: model.fileInfo.metadata?.tokenizer?.ggml?.tokens?.length,
    version: llama.llamaCppRelease,
    flash: context.flashAttention,
});
for await (const line of createInterface({input: process.stdin})) {
    const {verb, ...given} = JSON.parse(line);
    try {
        reply(await verbs[verb](given));
    } catch (error) {
        reply({error: String(error?.message ?? error)});
    }
}
process.exit(0);
