// Keeps a client on this machine: whom else it would speak to is noted, and it finds nobody there.
const fs = require("node:fs");
const { Socket } = require("node:net");

const HERE = [undefined, "", "localhost", "127.0.0.1", "::1"];
const NOBODY = { host: "127.0.0.1", port: 9 };
const connect = Socket.prototype.connect;

Socket.prototype.connect = function (...given) {
  const [first, second] = Array.isArray(given[0]) ? given[0] : given;
  const host = typeof first === "object" ? first.host : second;
  if (typeof first !== "object" && Number.isNaN(Number(first))) return connect.apply(this, given);
  if (HERE.includes(typeof host === "function" ? undefined : host)) return connect.apply(this, given);
  fs.appendFileSync(process.env.ELSEWHERE, `${host}\n`);
  return connect.call(this, NOBODY, ...given.filter((each) => typeof each === "function"));
};
