/** Shows the OpenAPI document of the service that the page comes from, and tries its operations. */

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

/** An element with text or children. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text in which what stands in backticks is code. */
function prose(text) {
  return text.split('`').map((part, index) => (index % 2 ? make('code', {}, part) : part));
}

/** What a service is for comes first, what it takes to run it last. */
function rank(group) {
  return ['sessions', 'users', 'profile', 'dashboard'].includes(group) ? 0 : /^(admin|health)/.test(group) ? 2 : 1;
}

/** The schema itself, wherever it stands. */
function resolve(api, schema) {
  if (!schema?.$ref) return schema ?? {};
  return resolve(api, schema.$ref.split('/').slice(1).reduce((part, key) => part[key], api));
}

/** Something that has the schema's shape, to begin with. */
function example(api, schema, depth = 0) {
  const it = resolve(api, schema);
  if (it.example !== undefined) return it.example;
  if (it.examples?.length) return it.examples[0];
  if (it.default !== undefined) return it.default;
  if (it.enum) return it.enum[0];
  const several = it.oneOf ?? it.anyOf;
  if (several) return example(api, several.find((one) => one.type !== 'null') ?? several[0], depth);
  if (it.allOf) return Object.assign({}, ...it.allOf.map((one) => example(api, one, depth)));
  const type = [it.type].flat().find((one) => one !== 'null');
  if (type === 'object' && depth < 4) {
    return Object.fromEntries(Object.entries(it.properties ?? {}).map(([name, property]) => [name, example(api, property, depth + 1)]));
  }
  if (type === 'array') return [];
  if (type === 'integer' || type === 'number') return 0;
  if (type === 'boolean') return false;
  return type === 'string' ? '' : null;
}

function show(api, path, method, operation) {
  const inside = make('div', { class: 'inside' });
  const summary = make('summary', {},
    make('span', { class: 'method' }, method.toUpperCase()),
    make('span', { class: 'path' }, path),
    make('span', { class: 'what' }, ...prose(operation.summary ?? '')));
  const details = make('details', { id: `${method} ${path}` }, summary, inside);
  // Drawn when it is opened: a document has many.
  details.addEventListener('toggle', () => {
    if (inside.childElementCount) return;
    if (operation.description) inside.append(make('p', {}, ...prose(operation.description)));
    inside.append(tryIt(api, path, method, operation));
    inside.append(make('h3', {}, 'Answers'));
    const answers = Object.entries(operation.responses).sort();
    inside.append(make('dl', {}, ...answers.flatMap(([status, answer]) => [
      make('dt', {}, make('code', {}, status)), make('dd', {}, ...prose(answer.description))])));
  });
  return details;
}

function tryIt(api, path, method, operation) {
  const parameters = operation.parameters ?? [];
  const [kind, content] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  const form = make('form', {});
  for (const { name, description } of parameters) {
    form.append(make('label', {}, description ? `${name}: ${description}` : name, make('input', { name, autocomplete: 'off' })));
  }
  if (content) {
    const start = example(api, content.schema);
    const text = kind === 'application/json' ? JSON.stringify(start, null, 2) : new URLSearchParams(start).toString();
    const rows = Math.min(10, text.split('\n').length + 1);
    form.append(make('label', {}, `Body, ${kind}`, make('textarea', { name: ' body', rows, spellcheck: 'false' }, text)));
  }
  const said = make('pre', { tabindex: '0', 'aria-label': 'Answer', hidden: '' });
  form.append(make('button', { type: 'submit' }, 'Send'), said);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    said.hidden = false;
    said.textContent = '…';
    try {
      said.textContent = await send(path, method, operation, parameters, new FormData(form), kind);
    } catch (error) {
      said.textContent = `No answer: ${error.message}`;
    }
  });
  return form;
}

async function send(path, method, operation, parameters, values, kind) {
  const query = new URLSearchParams();
  let where = path;
  for (const { name, in: place } of parameters) {
    const value = values.get(name);
    if (place === 'path') where = where.replace(`{${name}}`, encodeURIComponent(value));
    else if (value) query.set(name, value);
  }
  const headers = kind ? { 'Content-Type': kind } : {};
  const { token, client, secret } = document.getElementById('credentials').elements;
  const wants = new Set((operation.security ?? []).flatMap((one) => Object.keys(one)));
  if (wants.has('token') && token.value) headers.Authorization = `Bearer ${token.value.trim()}`;
  if (wants.has('client') && client.value) headers.Authorization = `Basic ${btoa(`${client.value}:${secret.value}`)}`;
  const asked = query.size ? `${where}?${query}` : where;
  const answer = await fetch(asked, { method: method.toUpperCase(), headers, body: kind ? values.get(' body') : undefined, credentials: 'omit' });
  const lines = [`${answer.status}`, ...[...answer.headers].map(([name, value]) => `${name}: ${value}`), ''];
  if (answer.headers.get('Content-Type')?.startsWith('text/event-stream')) {
    await answer.body.cancel();
    return [...lines, '(a stream, which goes on)'].join('\n');
  }
  const text = await answer.text();
  let body = text;
  try {
    const json = JSON.parse(text);
    if (json.access_token && !token.value) token.value = json.access_token;
    body = JSON.stringify(json, null, 2);
  } catch {
    // What is no JSON is shown as it is.
  }
  return [...lines, body].join('\n');
}

try {
  const api = await (await fetch('/openapi.json')).json();
  document.title = api.info.title;
  document.getElementById('title').textContent = api.info.title;
  document.getElementById('description').textContent = api.info.description ?? '';
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((one) => item[one])) {
      const [group] = item[method].tags ?? ['others'];
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(show(api, path, method, item[method]));
    }
  }
  for (const [name, operations] of [...groups].sort(([one], [other]) => rank(one) - rank(other))) {
    document.getElementById('operations').append(make('section', { 'aria-label': name }, make('h2', {}, name), ...operations));
  }
} catch (error) {
  document.getElementById('notice').textContent = `The document cannot be read: ${error.message}`;
}
