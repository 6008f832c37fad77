// Reads a list of Kubernetes objects from stdin, and prints for each what is wrong with it, or null where nothing is.
// Usage: node validate.js FOLDER-OF-PACKAGES < objects.json
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const PACKAGES = {
  "cert-manager.io": "cert-manager",
  "external-secrets.io": "external-secrets",
  "gateway.networking.k8s.io": "gateway-api",
  "monitoring.coreos.com": "prometheus-operator",
};

async function problem(folder, object) {
  const [group, version] = object.apiVersion.split("/");
  const path = `${folder}/@kubernetes-models/${PACKAGES[group]}/${group}/${version}/${object.kind}.js`;
  const model = (await import(pathToFileURL(path).href))[object.kind];
  try {
    new model(object).validate();
    return null;
  } catch (error) {
    return error.message;
  }
}

const objects = JSON.parse(readFileSync(0, "utf8"));
const problems = [];
for (const object of objects) problems.push(await problem(process.argv[2], object));
console.log(JSON.stringify(problems));
