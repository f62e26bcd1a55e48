// The first minute of a stranger: template browser, first template, Run, a head to turn. Prints a report as JSON.
//
//   PLAYWRIGHT_DIR=<folder with node_modules/playwright-core> node first_minute.mjs '<plan as JSON>'
//
// The plan: url, pack and template (names in the template browser), shots (folder for pictures), timeout_s.
import path from "node:path";
import { openPage, startBrowser } from "./page.mjs";

const plan = { size: [1600, 1000], timeout_s: 300, ...JSON.parse(process.argv[2]) };
const report = { clicks: 0, seconds: {}, problems: [], blocked: [] };
const started = Date.now();

async function click(page, place) {
  await place.click();
  report.clicks += 1;
  await page.waitForTimeout(1500);
}

async function shot(page, name) {
  report.seconds[name] = Math.round((Date.now() - started) / 1000);
  await page.screenshot({ path: path.join(plan.shots, `${name}.png`) });
}

const browser = await startBrowser();
try {
  const page = await openPage(browser, plan, report);
  const pack = page.getByText(plan.pack, { exact: true }).first();
  if (!(await pack.isVisible())) {
    await page.evaluate(() => window.app.extensionManager.command.execute("Comfy.BrowseTemplates"));
    await pack.waitFor();
  }
  await click(page, pack);
  await shot(page, "templates");
  await click(page, page.getByText(plan.template, { exact: true }).first());
  await page.waitForFunction(() => (window.app.graph.nodes ?? window.app.graph._nodes).some((node) => node.comfyClass === "Portrait3DRenderOrbit"));
  await page.waitForTimeout(1500);
  await shot(page, "opened");
  await click(page, page.getByTestId("queue-button").locator("button").first());
  await page.waitForSelector('.portrait3d-orbit[data-state="ready"]');
  await shot(page, "head");
  const box = await page.locator(".portrait3d-orbit").boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  for (let i = 1; i <= 8; i++) await page.mouse.move(x - (i * box.width) / 40, y);
  await page.mouse.up();
  await page.waitForTimeout(1500);
  await shot(page, "turned");
  report.frame = await page.locator(".portrait3d-orbit").getAttribute("data-frame");
} catch (error) {
  report.problems.push(String(error.stack ?? error));
} finally {
  await browser.close();
}
console.log(JSON.stringify(report));
