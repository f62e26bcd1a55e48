// A head to turn with the mouse, on the nodes below. It shows pictures that the node has rendered when it ran: the node's
// output names a sheet in ComfyUI's temp folder (nodes/turntable.py).

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { FRONT, dragged, frameOf, sheetsOf, stepped } from "./orbit_frames.mjs";

const NODES = new Set(["Portrait3DLoadPortrait", "Portrait3DRenderOrbit"]);
const MIN_HEIGHT_PX = 240;

const TEXTS = {
  en: { label: "Portrait", run: "run to see the head", turn: "drag to turn", none: "no preview", yaw: "yaw", pitch: "pitch" },
  zh: { label: "肖像", run: "运行后显示头像", turn: "拖动旋转", none: "无预览", yaw: "水平角", pitch: "俯仰角" },
  ja: { label: "肖像", run: "実行すると頭部を表示", turn: "ドラッグで回転", none: "プレビューなし", yaw: "水平角", pitch: "仰角" },
};

const STYLE = `
.portrait3d-orbit { position: relative; box-sizing: border-box; width: 100%; height: 100%; min-height: ${MIN_HEIGHT_PX}px;
  overflow: hidden; border-radius: 8px; touch-action: none; user-select: none; -webkit-user-select: none;
  background: radial-gradient(circle at 50% 40%, #7b8190 0%, #4a4f5b 55%, #2b2e36 100%); }
.portrait3d-orbit canvas { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain;
  object-position: bottom; pointer-events: none; }
.portrait3d-orbit span { position: absolute; left: 50%; bottom: 8px; transform: translateX(-50%); padding: 2px 10px;
  border-radius: 10px; background: rgb(0 0 0 / 55%); color: #eee; font: 12px/1.5 sans-serif; white-space: nowrap;
  pointer-events: none; }
.portrait3d-orbit[data-several="true"] span { pointer-events: auto; cursor: pointer; }
.portrait3d-orbit[data-state="ready"] { cursor: grab; }
.portrait3d-orbit[data-state="ready"]:active { cursor: grabbing; }
.portrait3d-orbit:not([data-state="ready"]) canvas { display: none; }
.portrait3d-orbit:not([data-state="ready"]) span { bottom: 50%; transform: translate(-50%, 50%); background: none; }
.portrait3d-orbit:focus-visible { outline: 2px solid #8ab4f8; outline-offset: -2px; }
`;

/** The texts in the language of the page. */
function texts() {
  const locale = String(app.extensionManager?.setting?.get("Comfy.Locale") ?? "en");
  return TEXTS[locale.split("-")[0]] ?? TEXTS.en;
}

/** The element of one node: an empty stage until `show` is given layouts (see sheetsOf), one per head. */
class OrbitView {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.caption = document.createElement("span");
    this.element = document.createElement("div");
    this.element.className = "portrait3d-orbit";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "slider");
    this.element.setAttribute("aria-label", texts().label);
    this.element.setAttribute("aria-valuemin", "-180");
    this.element.setAttribute("aria-valuemax", "180");
    this.element.append(this.canvas, this.caption);
    this.view = FRONT;
    this.heads = [];
    this.become("empty", texts().run);
    this.listen();
  }

  become(state, words) {
    const count = this.heads.length;
    this.element.dataset.state = state;
    this.element.dataset.several = count > 1;
    this.caption.textContent = count > 1 ? `${this.index + 1}/${count} · ${words}` : words;
    this.element.setAttribute("aria-valuetext", this.caption.textContent);
  }

  show(layouts) {
    this.heads = layouts;
    return this.open(0);
  }

  /** Load the sheet of one of the heads and show it from where the last one was seen. */
  async open(index) {
    const count = this.heads.length;
    this.index = count && (index + count) % count;
    const layout = (this.wanted = this.heads[this.index]);
    if (!layout) return this.become("none", texts().none);
    const address = new URLSearchParams({ filename: layout.sheet, subfolder: layout.subfolder, type: "temp" });
    const image = new Image();
    image.src = api.apiURL(`/view?${address}`);
    const loaded = await image.decode().then(() => true, () => false);
    if (this.wanted !== layout) return; // something newer came first
    if (!loaded) return this.become("none", texts().none);
    this.image = image;
    this.layout = layout;
    this.canvas.width = this.canvas.height = image.naturalWidth / layout.yaws;
    this.become("ready", texts().turn);
    this.draw();
  }

  turnTo(view) {
    this.view = view;
    const { yaw, pitch } = this.draw();
    const words = texts();
    this.become("ready", `${words.yaw} ${Math.round(yaw)}° · ${words.pitch} ${Math.round(pitch)}°`);
  }

  draw() {
    const frame = frameOf(this.view, this.layout);
    const side = this.canvas.width;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, side, side);
    context.drawImage(this.image, frame.column * side, frame.row * side, side, side, 0, 0, side, side);
    this.element.dataset.frame = `${frame.column},${frame.row}`;
    this.element.setAttribute("aria-valuenow", String(Math.round(frame.yaw)));
    return frame;
  }

  get ready() {
    return this.element.dataset.state === "ready";
  }

  /** Pointer and keys. What is used here must not also move the node or trigger a shortcut of the page. */
  listen() {
    let grip = null; // { id, x, y, view } while dragging
    const on = (kind, handle) => this.element.addEventListener(kind, handle);
    on("pointerdown", (event) => {
      if (!this.ready || grip || event.button !== 0) return;
      event.stopPropagation();
      if (event.target === this.caption) return;
      this.element.focus({ preventScroll: true });
      this.element.setPointerCapture(event.pointerId);
      grip = { id: event.pointerId, x: event.clientX, y: event.clientY, view: this.view };
    });
    on("pointermove", (event) => {
      if (event.pointerId !== grip?.id) return;
      event.stopPropagation();
      const { width, height } = this.element.getBoundingClientRect(); // as zoomed by the graph
      const side = Math.min(width, height);
      const [right, down] = [(event.clientX - grip.x) / side, (event.clientY - grip.y) / side];
      this.turnTo(dragged(grip.view, right, down, this.layout));
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
      on(kind, (event) => {
        if (event.pointerId !== grip?.id) return;
        event.stopPropagation();
        grip = null;
      });
    }
    this.caption.addEventListener("click", () => this.open(this.index + 1));
    on("dblclick", (event) => {
      event.stopPropagation();
      if (this.ready && event.target !== this.caption) this.turnTo(FRONT);
    });
    on("keydown", (event) => {
      if (!this.ready || event.ctrlKey || event.metaKey || event.altKey) return;
      const view = stepped(this.view, event.key, this.layout);
      const other = { PageDown: 1, PageUp: -1 }[event.key];
      if (!view && !other) return;
      event.stopPropagation();
      event.preventDefault();
      if (view) this.turnTo(view);
      else this.open(this.index + other);
    });
  }
}

const views = new WeakMap();

app.registerExtension({
  name: "portrait3d.orbit",

  init() {
    const style = document.createElement("style");
    style.textContent = STYLE;
    document.head.append(style);
  },

  nodeCreated(node) {
    if (!NODES.has(node.comfyClass)) return;
    const view = new OrbitView();
    views.set(node, view);
    const options = { serialize: false, hideOnZoom: false, getMinHeight: () => MIN_HEIGHT_PX, getValue: () => "", setValue: () => {} };
    const widget = node.addDOMWidget("orbit", "portrait3d_orbit", view.element, options);
    widget.serialize = false; // neither the workflow file nor the prompt holds it
    const [width, height] = node.computeSize(); // the node was sized before it had this widget
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
    const before = node.onExecuted;
    node.onExecuted = function (output, ...rest) {
      before?.call(this, output, ...rest);
      view.show(sheetsOf(output));
    };
  },

  /** Results come back with a workflow tab or an entry of the queue's history. */
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs ?? {})) {
      const layouts = sheetsOf(output);
      if (layouts.length) views.get(app.graph?.getNodeById(id))?.show(layouts);
    }
  },
});
