/** The page that checks proofs, without a browser: its own SHA-2 and Ed25519 against Node's. */

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import test from "node:test";
import vm from "node:vm";

const place = (name) => new URL(`../../../${name}`, import.meta.url);
const page = readFileSync(place("static/check.html"), "utf8");
const [, script] = /<script>([^]*?)<\/script>/.exec(page);
const [, style] = /<style>([^]*?)<\/style>/.exec(page);
const context = vm.createContext({ TextDecoder, TextEncoder, atob, btoa });
vm.runInContext(script, context);
const { check, findings, sha256, sha512, isSignature, hex } = context.minivault;
const golden = (name) => readFileSync(place(`tests/vault/tree/golden/${name}`), "utf8");

test("hashes are those of FIPS 180-4 at every length around a block", () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 111, 112, 119, 120, 127, 128, 129, 1000]) {
    const data = new Uint8Array(randomBytes(length));
    assert.equal(hex(sha256(data)), createHash("sha256").update(data).digest("hex"));
    assert.equal(hex(sha512(data)), createHash("sha512").update(data).digest("hex"));
  }
});

test("signatures of RFC 8032 are good, and no others", () => {
  const order = (1n << 252n) + 27742317777372353535851937790883648493n;
  for (let turn = 0; turn < 8; turn++) {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const key = new Uint8Array(publicKey.export({ type: "spki", format: "der" }).subarray(12));
    const message = new Uint8Array(randomBytes(turn * 9));
    const good = new Uint8Array(sign(null, message, privateKey));
    assert.ok(isSignature(good, message, key));
    for (const at of [0, 31, 32, 63]) assert.ok(!isSignature(good.with(at, good[at] ^ 1), message, key));
    assert.ok(!isSignature(good, new Uint8Array([...message, 0]), key));
    assert.ok(!isSignature(good.slice(0, 63), message, key));
    const s = good.slice(32).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n) + order;
    const twice = good.slice();
    for (let at = 0; at < 32; at++) twice[32 + at] = Number((s >> BigInt(8 * at)) & 255n);
    assert.ok(!isSignature(twice, message, key), "a second signature could be made of each");
  }
});

test("golden proofs are good, and say what they do not prove", () => {
  for (const [name, seq] of [["17.tlog-proof", "17"], ["257.tlog-proof", "257"], ["300-hash.tlog-proof", "300"]]) {
    const found = check(golden(name), golden("key.pub"));
    assert.deepEqual([found.seq, found.size, found.isSigned], [seq, "300", true]);
    assert.ok(findings(found).proven.some((each) => each.includes(`record ${seq} of the log`)));
    assert.ok(findings(found).unproven.length >= 3);
  }
});

test("a flipped bit anywhere is seen", () => {
  const data = Buffer.from(golden("17.tlog-proof"));
  for (let bit = 3; bit < 8 * data.length; bit += 397) {
    const wrong = Buffer.from(data);
    wrong[bit >> 3] ^= 1 << (bit & 7);
    assert.throws(() => check(wrong.toString("utf8"), golden("key.pub")), `bit ${bit}`);
  }
});

test("the page allows itself its own script and style, and nothing else", () => {
  const [, policy] = /"Content-Security-Policy" content="([^"]*)"/.exec(page);
  const digest = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  assert.ok(policy.includes(`script-src ${digest(script)}`), `script-src should be ${digest(script)}`);
  assert.ok(policy.includes(`style-src ${digest(style)}`), `style-src should be ${digest(style)}`);
  assert.ok(policy.startsWith("default-src 'none';"));
  assert.ok(!/innerHTML|fetch\(|XMLHttpRequest|https?:/.test(script));
});
