// Which picture of a turntable sheet is shown. Pure functions, tested by tests/web/orbit_frames.test.mjs.
//
// A sheet has one column per yaw, evenly around the head from the front towards the head's left, and one row per pitch.
// A view is { yaw, pitch } in degrees; yaw counts on and on, pitch stays within the rows.

export const FRONT = { yaw: 0, pitch: 0 };
const HALF_TURN = 180; // degrees for a drag across the whole picture
const MOST_COLUMNS = 360;

/** The layouts in a node's output that make sense: one per head, none where there is no preview. */
export function sheetsOf(output) {
  const found = output?.portrait3d_turntable;
  return Array.isArray(found) ? found.filter(usable).map(({ sheet, subfolder, yaws, pitches }) => ({ sheet, subfolder, yaws, pitches })) : [];
}

function usable(layout) {
  return (
    typeof layout?.sheet === "string" &&
    typeof layout.subfolder === "string" &&
    Number.isInteger(layout.yaws) && layout.yaws >= 1 && layout.yaws <= MOST_COLUMNS &&
    Array.isArray(layout.pitches) && layout.pitches.length >= 1 && layout.pitches.every(Number.isFinite)
  );
}

/** The view after a drag by (right, down), in widths and heights of the picture: the head follows the pointer. */
export function dragged(view, right, down, { pitches }) {
  const pitch = view.pitch + down * HALF_TURN;
  return {
    yaw: view.yaw - right * HALF_TURN,
    pitch: Math.min(Math.max(pitch, Math.min(...pitches)), Math.max(...pitches)),
  };
}

/** The view after an arrow key, one picture further the way a drag would go; null for other keys. */
export function stepped(view, key, layout) {
  const { row, yaw } = frameOf(view, layout);
  const heights = [...layout.pitches].sort((a, b) => a - b);
  const level = heights.indexOf(layout.pitches[row]);
  const raised = (by) => heights[Math.min(Math.max(level + by, 0), heights.length - 1)];
  const turned = (by) => ({ yaw: yaw + (by * 360) / layout.yaws, pitch: layout.pitches[row] });
  switch (key) {
    case "ArrowRight": return turned(-1);
    case "ArrowLeft": return turned(1);
    case "ArrowDown": return { yaw, pitch: raised(1) };
    case "ArrowUp": return { yaw, pitch: raised(-1) };
    case "Home": return FRONT;
    default: return null;
  }
}

/** The picture nearest to a view: its column, its row, and where it was taken from, yaw in (-180, 180] degrees. */
export function frameOf(view, { yaws, pitches }) {
  const turn = Math.round((view.yaw / 360) * yaws);
  const column = ((turn % yaws) + yaws) % yaws;
  const away = pitches.map((pitch) => Math.abs(pitch - view.pitch));
  const row = away.indexOf(Math.min(...away));
  const yaw = (column * 360) / yaws;
  return { column, row, yaw: yaw > 180 ? yaw - 360 : yaw, pitch: pitches[row] };
}
