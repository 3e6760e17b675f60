// Keeps a client on this machine: whom else it would speak to is noted, and refused.
const fs = require("node:fs");
const { Socket } = require("node:net");

const HERE = [undefined, "", "localhost", "127.0.0.1", "::1"];
const connect = Socket.prototype.connect;

Socket.prototype.connect = function (...given) {
  const [first] = given;
  const { host } = Array.isArray(first) ? first[0] : typeof first === "object" ? first : { host: given[1] };
  if (HERE.includes(host)) return connect.apply(this, given);
  fs.appendFileSync(process.env.ELSEWHERE, `${host}\n`);
  return this.destroy(new Error(`${host} is elsewhere`));
};
