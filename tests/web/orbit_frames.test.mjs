// node --test tests/web/
import assert from "node:assert/strict";
import test from "node:test";

import { FRONT, dragged, frameOf, sheetsOf, stepped } from "../../web/orbit_frames.mjs";

const layout = { yaws: 24, pitches: [25, 0, -25] };
const entry = { sheet: "a.webp", subfolder: "portrait3d", yaws: 24, pitches: [25, 0, -25] };

test("the front is the first column of the level row", () => {
  assert.deepEqual(frameOf(FRONT, layout), { column: 0, row: 1, yaw: 0, pitch: 0 });
});

test("columns go around and yaws are between -180 and 180", () => {
  assert.equal(frameOf({ yaw: 90, pitch: 0 }, layout).column, 6);
  assert.deepEqual(frameOf({ yaw: -90, pitch: 0 }, layout), { column: 18, row: 1, yaw: -90, pitch: 0 });
  assert.equal(frameOf({ yaw: 180, pitch: 0 }, layout).yaw, 180);
  for (const turns of [-3, -1, 1, 7]) assert.equal(frameOf({ yaw: 360 * turns - 15, pitch: 0 }, layout).column, 23);
  assert.equal(frameOf({ yaw: 359, pitch: 0 }, layout).column, 0);
});

test("every column is reached once in a turn", () => {
  const seen = Array.from({ length: 24 }, (_, i) => frameOf({ yaw: i * 15, pitch: 0 }, layout).column);
  assert.deepEqual(seen, [...Array(24).keys()]);
});

test("the head follows the pointer", () => {
  assert.equal(dragged(FRONT, 0.5, 0, layout).yaw, -90); // to the right: seen from its other side
  assert.equal(frameOf(dragged(FRONT, 0, 0.1, layout), layout).row, 0); // down: seen from above
  assert.equal(frameOf(dragged(FRONT, 0, -0.1, layout), layout).row, 2);
});

test("pitch stays within the rows, so that turning back answers at once", () => {
  assert.equal(dragged(FRONT, 0, 5, layout).pitch, 25);
  assert.equal(dragged(FRONT, 0, -5, layout).pitch, -25);
});

test("a drag there and back ends where it began", () => {
  const there = dragged({ yaw: 30, pitch: 10 }, 0.3, 0.02, layout);
  const back = dragged(there, -0.3, -0.02, layout);
  assert.ok(Math.abs(back.yaw - 30) < 1e-9 && Math.abs(back.pitch - 10) < 1e-9);
});

test("arrow keys go picture by picture, the way of a drag", () => {
  assert.equal(frameOf(stepped(FRONT, "ArrowRight", layout), layout).column, 23);
  assert.equal(frameOf(stepped(FRONT, "ArrowLeft", layout), layout).column, 1);
  const above = stepped(FRONT, "ArrowDown", layout);
  assert.equal(frameOf(above, layout).row, 0);
  assert.equal(frameOf(stepped(above, "ArrowDown", layout), layout).row, 0);
  assert.equal(frameOf(stepped(FRONT, "ArrowUp", layout), layout).row, 2);
  assert.deepEqual(stepped(above, "Home", layout), FRONT);
  for (const key of ["a", "Enter", "Tab", "Delete"]) assert.equal(stepped(FRONT, key, layout), null);
});

test("a sheet of one row or one picture works", () => {
  assert.deepEqual(frameOf({ yaw: 200, pitch: 3 }, { yaws: 1, pitches: [10] }), { column: 0, row: 0, yaw: 0, pitch: 10 });
  assert.equal(stepped(FRONT, "ArrowUp", { yaws: 8, pitches: [10] }).pitch, 10);
});

test("outputs without a usable sheet give none", () => {
  for (const output of [null, undefined, {}, { portrait3d_turntable: [] }, { images: [{ filename: "x.png" }] }])
    assert.deepEqual(sheetsOf(output), []);
  for (const wrong of [{ yaws: 0 }, { yaws: 1e9 }, { yaws: "24" }, { pitches: [] }, { pitches: ["<b>"] }, { sheet: 3 }])
    assert.deepEqual(sheetsOf({ portrait3d_turntable: [{ ...entry, ...wrong }] }), []);
});

test("every head has a sheet, and what else an output carries does not get through", () => {
  const found = sheetsOf({ portrait3d_turntable: [{ ...entry, html: "<script>" }, null, { ...entry, sheet: "b.webp" }] });
  assert.deepEqual(found, [entry, { ...entry, sheet: "b.webp" }]);
});
