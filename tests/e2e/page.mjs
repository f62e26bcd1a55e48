// A page of a running ComfyUI in headless Chromium, whose errors are noted, for the scripts beside this file.
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.PLAYWRIGHT_DIR ?? process.cwd(), "resolve.js"));
const { chromium } = require("playwright-core");
// The newest frontend asks older servers for routes they do not have; a fresh profile has no user.css.
const HARMLESS = /ERR_BLOCKED_BY_CLIENT|ERR_FAILED|status of 404 .*(userdata|user\.css|\/jobs|global_subgraphs)|Failed to fetch jobs|\/api\/jobs/;

export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROME ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"],
  });
}

/** plan: { url, size: [width, height], timeout_s }; report gets { problems, blocked }. Every host except the server is blocked. */
export async function openPage(browser, plan, report) {
  const timeout = plan.timeout_s * 1000;
  const [width, height] = plan.size;
  const context = await browser.newContext({ viewport: { width, height }, hasTouch: true });
  const page = await context.newPage();
  page.setDefaultTimeout(timeout); // a busy machine draws slowly
  const host = new URL(plan.url).host;
  await page.route("**/*", (route) => {
    const url = new URL(route.request().url());
    if (url.host === host || ["data:", "blob:"].includes(url.protocol)) return route.continue();
    report.blocked.push(url.host);
    return route.abort("blockedbyclient");
  });
  const note = (text) => HARMLESS.test(text) || report.problems.push(text.slice(0, 600));
  page.on("console", (message) => message.type() === "error" && note(`${message.text()} @ ${message.location().url}`));
  page.on("pageerror", (error) => note(String(error.stack ?? error)));
  page.on("response", (response) => response.status() >= 500 && note(`http ${response.status()} ${response.url()}`));
  await page.goto(plan.url, { waitUntil: "domcontentloaded", timeout });
  await page.waitForFunction(() => window.app?.graph && window.app?.extensionManager, null, { timeout });
  await page.waitForFunction(() => !document.querySelector(".splash, #splash-loader, .p-blockui-mask"), null, { timeout });
  await page.waitForTimeout(2000);
  return page;
}
