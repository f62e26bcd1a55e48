// Small manners of our nodes: seeds of long runs stay as they are, so that a stopped run goes on; numbers that are left to the
// profile (-1) show what the profile has (nodes/host/widgets.py).

import { app } from "../../scripts/app.js";

const LONG = new Set(["Portrait3DDistill", "Portrait3DInvertImage", "Portrait3DRefineViews", "Portrait3DFitViews"]);
const FROM_PROFILE = -1;

/** The text in place of -1: the number of the profile, with "auto" that of the last run, or the word. */
function profileText(numbers, profile, suited) {
  return numbers[profile] ?? numbers[suited] ?? profile;
}

app.registerExtension({
  name: "portrait3d.manners",

  nodeCreated(node) {
    const widgets = node.widgets ?? [];
    const named = (name) => widgets.find((widget) => widget.name === name);
    const seedControl = LONG.has(node.comfyClass) && named("control_after_generate");
    if (seedControl) seedControl.value = "fixed"; // a loaded workflow sets its own afterwards

    const inputs = { ...node.constructor.nodeData?.input?.required, ...node.constructor.nodeData?.input?.optional };
    const profile = named("profile");
    let suited;
    for (const widget of widgets) {
      const numbers = inputs[widget.name]?.[1]?.portrait3d_profiles;
      if (!numbers || !profile) continue;
      Object.defineProperty(widget, "_displayValue", {
        get() {
          if (Number(this.value) === FROM_PROFILE) return profileText(numbers, profile.value, suited);
          return Reflect.get(Object.getPrototypeOf(this), "_displayValue", this);
        },
      });
    }
    if (!profile) return;
    const before = node.onExecuted;
    node.onExecuted = function (output, ...rest) {
      before?.call(this, output, ...rest);
      suited = output?.portrait3d_profile?.[0] ?? suited;
      this.setDirtyCanvas?.(true, false);
    };
  },
});
