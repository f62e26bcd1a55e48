// Called by help_pictures.py with a plan (JSON file): url, graph (API format), scenes { node id: [key, keys to its right] },
// pictures (folder). Loads and runs the graph in headless Chromium, then takes one picture of each scene. A scene without
// keys shows the node alone. PLAYWRIGHT_DIR has node_modules/playwright-core; CHROME names the browser.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const plan = JSON.parse(readFileSync(process.argv[2], "utf8"));
const require = createRequire(path.join(process.env.PLAYWRIGHT_DIR ?? process.cwd(), "resolve.js"));
const { chromium } = require("playwright-core");
const TIMEOUT_MS = 3_600_000; // a busy machine
const MAX_BYTES = 30_000;
const SIZE = { width: 1100, height: 760 };
const VIEWER = [280, 300];
const [GAP, MARGIN, FAR] = [45, 24, 6000];

/** Load and run the graph; the message of a failure, or nothing. */
async function run(page) {
  return page.evaluate(
    async ([graph, ms]) => {
      await window.app.loadApiJson(graph, "help");
      for (const widget of window.app.graph._nodes.flatMap((node) => node.widgets ?? []))
        if (widget.name === "control_after_generate") widget.value = "fixed";
      const api = window.app.api;
      const end = new Promise((resolve) => {
        api.addEventListener("execution_success", () => resolve(null));
        api.addEventListener("execution_error", (event) => resolve(event.detail.node_type + ": " + event.detail.exception_message));
        setTimeout(() => resolve("timeout"), ms);
      });
      await window.app.queuePrompt(0, 1);
      const refused = Object.values(window.app.lastNodeErrors ?? {});
      return refused.length ? JSON.stringify(refused) : end;
    },
    [plan.graph, TIMEOUT_MS],
  );
}

/** Lay out the nodes of one scene in a row, everything else far away, and look at it; the picture's rectangle. */
async function arrange(page, type, keys) {
  return page.evaluate(
    ([type, keys, viewer, gap, margin, far, size]) => {
      const { app, LiteGraph } = window;
      for (const node of app.graph._nodes) {
        node.pos = [-far, -far];
        if (node.flags.collapsed) node.collapse();
      }
      let row = keys.map((key) => app.graph.getNodeById(key));
      if (!row.length) {
        row = [LiteGraph.createNode(type)];
        app.graph.add(row[0]);
      }
      let [x, bottom] = [0, 0];
      const last = row.length - 1;
      for (const [index, node] of row.entries()) {
        if (index === 0 && row.length > 1) {
          // its live preview; the result is shown beside it
          delete app.nodePreviewImages[node.id];
          Object.assign(node, { imgs: undefined, images: undefined, preview: undefined });
          node.widgets = node.widgets?.filter((widget) => widget.name !== "$$canvas-image-preview");
        }
        if (index > 0 && index < last) node.collapse();
        if (["PreviewImage", "Preview3D"].includes(node.type)) node.setSize(viewer);
        else node.setSize([Math.max(node.size[0], 300), node.computeSize()[1]]);
        node.pos = [x, index > 0 && index < last ? 60 * index : 0];
        x += (node.flags.collapsed ? 170 : node.size[0]) + gap;
        if (!node.flags.collapsed) bottom = Math.max(bottom, node.size[1]);
      }
      const [width, height] = [x - gap, bottom + LiteGraph.NODE_TITLE_HEIGHT];
      const scale = Math.min(1, (size.width - 260) / width, (size.height - 170) / height);
      const { ds, canvas } = app.canvas;
      const area = canvas.getBoundingClientRect();
      ds.scale = scale;
      ds.offset = [120 / scale, 100 / scale + LiteGraph.NODE_TITLE_HEIGHT];
      app.canvas.deselectAll?.();
      app.canvas.setDirty(true, true);
      const edge = margin * scale;
      return {
        x: area.left + 120 - edge,
        y: area.top + 100 - edge,
        width: width * scale + 2 * edge,
        height: height * scale + 2 * edge,
      };
    },
    [type, keys, VIEWER, GAP, MARGIN, FAR, SIZE],
  );
}

const browser = await chromium.launch({
  executablePath: process.env.CHROME ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage({ viewport: SIZE });
  const host = new URL(plan.url).host;
  await page.route("**/*", (route) => {
    const url = new URL(route.request().url());
    return url.host === host || ["data:", "blob:"].includes(url.protocol) ? route.continue() : route.abort();
  });
  await page.goto(plan.url, { timeout: TIMEOUT_MS });
  await page.waitForFunction(() => window.app?.graph && window.app?.extensionManager, null, { timeout: TIMEOUT_MS });
  await page.waitForTimeout(3000);
  await page.keyboard.press("Escape"); // the template browser of a first visit
  const problem = await run(page);
  if (problem) throw new Error(problem);
  await page.waitForTimeout(3000);
  await page.addStyleTag({ content: ".side-tool-bar-container, .actionbar, .p-toast, .selection-toolbox { display: none !important }" });
  for (const [type, keys] of Object.entries(plan.scenes)) {
    const clip = await arrange(page, type, keys);
    await page.waitForTimeout(type.endsWith("Mesh") ? 12_000 : 1500); // the 3D viewer is slow without a graphics card
    let [quality, picture] = [85, null];
    do picture = await page.screenshot({ type: "jpeg", quality, clip });
    while (picture.length > MAX_BYTES && (quality -= 8) > 20);
    writeFileSync(path.join(plan.pictures, `${type}.jpg`), picture);
    console.log(`${type}: ${Math.round(clip.width)} x ${Math.round(clip.height)}, ${picture.length} bytes`);
  }
} finally {
  await browser.close();
}
