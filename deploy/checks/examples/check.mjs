// Judges the objects in envoy/examples and deploy/options by the schemas that Istio, Envoy Gateway, Argo Rollouts, cert-manager, KEDA and the
// Prometheus Operator publish as CRDs: values, what is required, and, which the CRDs do not refuse by themselves but an API server drops in silence,
// fields that they do not know.
//
// Shows as well that it can fail: a field nobody knows is put into every part of every object in turn, and each must be found.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";

const here = dirname(fileURLToPath(import.meta.url));
const ROOT = join(here, "../../..");
const MODELS = {
  "envoy/examples/istio.yaml": "@kubernetes-models/istio",
  "envoy/examples/envoy-gateway.yaml": "@kubernetes-models/envoy-gateway",
  "deploy/options/argo-rollouts.yaml": "@kubernetes-models/argo-rollouts",
  "deploy/options/certificates.yaml": "@kubernetes-models/cert-manager",
  "deploy/options/keda.yaml": "@kubernetes-models/keda",
  "deploy/options/pod-monitor.yaml": "@kubernetes-models/prometheus-operator",
  "deploy/options/service-monitor.yaml": "@kubernetes-models/prometheus-operator",
};
// Objects that others than these publish, by the group of their API.
const OTHERS = { "gateway.networking.k8s.io": "@kubernetes-models/gateway-api" };
// What the schemas leave to others: Envoy's own configuration, the filter's, and labels.
const FREE = new Set(["value", "pluginConfig", "config", "labels", "matchLabels", "metadata"]);
const UNKNOWN = "nobodyKnowsThis";

const read = (file) =>
  parseAllDocuments(readFileSync(join(ROOT, file), "utf8")).map((document) => {
    if (document.errors.length) throw document.errors[0];
    return document.toJS();
  });

// By the rules of the schema: types, enumerations, formats, required fields.
async function valueFaults({ model, object }) {
  const { [object.kind]: Model } = await import(`${model}/${object.apiVersion}`);
  if (!Model) return [`${object.apiVersion} ${object.kind} is not published`];
  try {
    new Model(object).validate();
    return [];
  } catch (error) {
    return [error.message];
  }
}

// By its types, which refuse unknown fields in a literal. Gives the faults of each case, all looked at in one run.
function fieldFaults(cases) {
  const folder = mkdtempSync(join(here, "node_modules/.cases-"));
  try {
    const files = cases.map(({ model, object }, number) => {
      const file = join(folder, `case${number}.ts`);
      const type = `I${object.kind}`;
      const literal = JSON.stringify(object, null, 1);
      writeFileSync(file, `import type { ${type} } from "${model}/${object.apiVersion}";\nexport const it: ${type} = ${literal};\n`);
      return file;
    });
    const options = ["--noEmit", "--skipLibCheck", "--strict", "--pretty", "false", "--module", "nodenext", "--target", "es2022"];
    const tsc = spawnSync(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), ...options, ...files], { encoding: "utf8" });
    if (tsc.error) throw tsc.error;
    const faults = cases.map(() => []);
    for (const line of tsc.stdout.split("\n").filter((line) => /error TS/.test(line))) {
      const number = /case(\d+)\.ts\(/.exec(line);
      if (!number) throw new Error(line);
      faults[Number(number[1])].push(line.replace(/^.*?: error /, ""));
    }
    return faults;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

// Every object with one more field in one of its parts.
function spoiled({ name, model, object }) {
  const cases = [];
  const walk = (part, path) => {
    if (!Array.isArray(part)) {
      const copy = structuredClone(object);
      const place = path.reduce((at, step) => at[step], copy);
      place[UNKNOWN] = 1;
      cases.push({ name: `${name} with a field in /${path.join("/")}`, model, object: copy });
    }
    for (const [key, inner] of Object.entries(part)) {
      if (inner !== null && typeof inner === "object" && !FREE.has(key)) walk(inner, [...path, key]);
    }
  };
  walk(object.spec, ["spec"]);
  return cases;
}

const sound = Object.entries(MODELS).flatMap(([file, model]) =>
  read(file).map((object) => ({
    name: `${file}: ${object.kind} ${object.metadata.name}`,
    model: OTHERS[object.apiVersion.split("/")[0]] ?? model,
    object,
  })),
);
const bad = sound.flatMap(spoiled);
const judged = fieldFaults([...sound, ...bad]);
const problems = [];
for (const [number, one] of sound.entries()) {
  const faults = [...(await valueFaults(one)), ...judged[number]];
  problems.push(...faults.map((fault) => `${one.name}: ${fault}`));
  const wrong = { ...one, object: { ...one.object, spec: "no object" } };
  if (!(await valueFaults(wrong)).length) problems.push(`${one.name}: a wrong value is not found`);
}
for (const [number, one] of bad.entries()) {
  if (!judged[sound.length + number].some((fault) => fault.includes(UNKNOWN))) problems.push(`${one.name}: not found`);
}
console.log(`${sound.length} objects, ${bad.length} spoiled ones`);
problems.forEach((problem) => console.error(problem));
process.exit(problems.length ? 1 : 0);
