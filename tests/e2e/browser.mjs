// One visit of a running ComfyUI in headless Chromium: load a workflow, run it, handle its widgets, take pictures.
//
//   PLAYWRIGHT_DIR=<folder with node_modules/playwright-core> node browser.mjs '<plan as JSON>'
//
// The plan (see test_browser.py, which makes it and judges the report printed as JSON):
//   url, workflow (file)    the server, and a saved UI workflow
//   widgets                 { node type: { widget: value } } set before the run
//   timeout_s               for everything
//   showing                 node types that must show something before page.png is taken; waited for 90 s at most
//   turn                    node types whose orbit widget is dragged, with mouse, touch and keys
//   shots                   folder for pictures: page.png, and per turned node its type with -before.png, -after.png
//   look                    [x, y, scale]: the point of the graph in the middle of page.png (default: the whole graph)
// Every host except the server is blocked, so that the result does not depend on the internet.
import { readFileSync } from "node:fs";
import path from "node:path";
import { openPage, startBrowser } from "./page.mjs";

const plan = { widgets: {}, turn: [], showing: [], timeout_s: 300, size: [1600, 1000], ...JSON.parse(process.argv[2]) };
const timeout = plan.timeout_s * 1000;
const report = { nodes: 0, missing: [], run: null, problems: [], blocked: [], turned: {}, shown: {} };

async function loadWorkflow(page) {
  const workflow = JSON.parse(readFileSync(plan.workflow, "utf8"));
  const found = await page.evaluate(
    async ([graph, widgets]) => {
      await window.app.loadGraphData(graph, true, true);
      await new Promise((done) => setTimeout(done, 1500));
      const nodes = window.app.graph.nodes ?? window.app.graph._nodes;
      for (const node of nodes)
        for (const [name, value] of Object.entries(widgets[node.type] ?? {})) {
          const widget = node.widgets.find((item) => item.name === name);
          widget.value = value;
          widget.callback?.(value);
        }
      const known = (node) => window.LiteGraph.registered_node_types[node.type] && !node.has_errors;
      return { nodes: nodes.length, missing: nodes.filter((node) => !known(node)).map((node) => node.type) };
    },
    [workflow, plan.widgets],
  );
  Object.assign(report, found);
}

async function run(page) {
  report.run = await page.evaluate(async (ms) => {
    const api = window.app.api ?? window.comfyAPI.api.api;
    const end = new Promise((resolve) => {
      for (const kind of ["execution_success", "execution_error", "execution_interrupted"])
        api.addEventListener(kind, (event) => resolve({ kind, message: event.detail?.exception_message }));
      setTimeout(() => resolve({ kind: "timeout" }), ms);
    });
    await window.app.queuePrompt(0, 1);
    return end;
  }, timeout);
  await page.waitForTimeout(3000);
}

/** Bring the graph point into the middle of the window. */
async function lookAt(page, x, y, scale) {
  await page.evaluate(
    ([x, y, scale]) => {
      const { ds, canvas } = window.app.canvas;
      const { width, height } = canvas.getBoundingClientRect();
      ds.scale = scale;
      ds.offset = [width / 2 / scale - x, height / 2 / scale - y];
      window.app.canvas.setDirty(true, true);
    },
    [x, y, scale],
  );
  await page.waitForTimeout(1200);
}

/** The point of the graph and the scale with which all nodes fill the window between its bars. */
async function wholeGraph(page) {
  return page.evaluate(() => {
    const nodes = window.app.graph.nodes ?? window.app.graph._nodes;
    const boxes = nodes.map(({ pos: [x, y], size: [width, height] }) => [x, y - 100, x + width, y + height]);
    const edge = (index, pick) => pick(...boxes.map((box) => box[index]));
    const [left, top, right, bottom] = [edge(0, Math.min), edge(1, Math.min), edge(2, Math.max), edge(3, Math.max)];
    const { width, height } = window.app.canvas.canvas.getBoundingClientRect();
    const scale = Math.min((width - 110) / (right - left), (height - 130) / (bottom - top));
    return [(left + right) / 2 - 25 / scale, (top + bottom) / 2 - 25 / scale, scale];
  });
}

/** { node id: widths of the pictures, videos and 3D views it shows }. */
async function shown(page) {
  return page.evaluate(() => {
    const { ds, canvas } = window.app.canvas;
    const graph = canvas.getBoundingClientRect();
    const middle = (box) => [(box.x + box.width / 2 - graph.x) / ds.scale - ds.offset[0], (box.y + box.height / 2 - graph.y) / ds.scale - ds.offset[1]];
    const within = ({ pos, size }, [x, y]) => x > pos[0] && x < pos[0] + size[0] && y > pos[1] && y < pos[1] + size[1];
    const elements = [...document.querySelectorAll("img, video, canvas")]
      .map((element) => [element, element.getBoundingClientRect()])
      .filter(([, box]) => box.width > 0 && box.width < 0.9 * graph.width);
    const pictures = (node) => [
      ...(node.imgs ?? []),
      ...elements.filter(([, box]) => within(node, middle(box))).map(([element]) => element),
    ];
    const width = (picture) => picture.naturalWidth ?? picture.videoWidth ?? picture.width;
    const nodes = window.app.graph.nodes ?? window.app.graph._nodes;
    return Object.fromEntries(nodes.map((node) => [node.id, pictures(node).map(width).filter((pixels) => pixels > 0)]));
  });
}

/** The same, once all nodes that should have something to show do: pictures, videos and meshes load by themselves. */
async function shownInTheEnd(page) {
  const waiting = await page.evaluate((types) => {
    const nodes = window.app.graph.nodes ?? window.app.graph._nodes;
    return nodes.filter((node) => types.includes(node.type)).map((node) => node.id);
  }, plan.showing);
  for (let attempt = 0; attempt < 45; attempt++) {
    const seen = await shown(page);
    if (waiting.every((id) => seen[id]?.length)) break;
    await page.waitForTimeout(2000);
  }
  await page.waitForTimeout(1500); // a 3D view draws its model after it has its size
  return shown(page);
}

/** Drag, swipe and press keys on the orbit widget of a node; what it showed meanwhile. */
async function turn(page, type) {
  const place = await page.evaluate((type) => {
    const node = (window.app.graph.nodes ?? window.app.graph._nodes).find((item) => item.type === type);
    const widget = node.widgets.find((item) => item.name === "orbit");
    widget.element.id = `turn-${type}`;
    return { middle: [node.pos[0] + node.size[0] / 2, node.pos[1] + node.size[1] - widget.element.clientHeight / 2] };
  }, type);
  await lookAt(page, ...place.middle, 1);
  const stage = page.locator(`#turn-${type}`);
  await page.waitForSelector(`#turn-${type}[data-state="ready"]`, { timeout: 20000 }).catch(() => {});
  const seen = async () => ({
    ...(await stage.evaluate((element) => ({ ...element.dataset }))),
    text: await stage.innerText(),
    position: await page.evaluate((type) => {
      const node = (window.app.graph.nodes ?? window.app.graph._nodes).find((item) => item.type === type);
      return [...node.pos, ...window.app.canvas.ds.offset];
    }, type),
  });
  const shot = (when) => plan.shots && stage.screenshot({ path: path.join(plan.shots, `${type}-${when}.png`) });
  const steps = { start: await seen() };
  await shot("before");
  const box = await stage.boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const touch = await page.context().newCDPSession(page);
  await touch.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [{ x, y }] });
  for (let i = 1; i <= 8; i++)
    await touch.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: [{ x: x + i * 10, y }] });
  await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  steps.touch = await seen();
  await page.mouse.dblclick(x, y);
  steps.front = await seen();
  await page.keyboard.press("ArrowRight");
  steps.key = await seen();
  await page.mouse.move(x, y);
  await page.mouse.down();
  for (let i = 1; i <= 8; i++) await page.mouse.move(x - (i * box.width) / 30, y + (i * box.height) / 50);
  await page.mouse.up();
  steps.mouse = await seen();
  await shot("after");
  return { ...steps, box, window: await page.evaluate(() => [innerWidth, innerHeight]) };
}

const browser = await startBrowser();
try {
  const page = await openPage(browser, plan, report);
  await page.keyboard.press("Escape"); // the template browser of a first visit
  await loadWorkflow(page);
  await lookAt(page, ...(plan.look ?? (await wholeGraph(page)))); // 3D views keep the size they start with
  await run(page);
  for (const type of plan.turn) report.turned[type] = await turn(page, type);
  report.saved = await page.evaluate(async () => ({
    workflow: window.app.graph.serialize(),
    prompt: (await window.app.graphToPrompt()).output,
  }));
  await lookAt(page, ...(plan.look ?? (await wholeGraph(page))));
  report.shown = await shownInTheEnd(page);
  if (plan.shots) await page.screenshot({ path: path.join(plan.shots, "page.png") });
} catch (error) {
  report.problems.push(String(error.stack ?? error));
} finally {
  await browser.close();
}
console.log(JSON.stringify(report));
