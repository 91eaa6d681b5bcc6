// Events out of transactions in Postgres: the cluster that sends them, and clients that hear them.

import { Cluster } from "./cluster.mjs";
import { postgresFor } from "./postgres.mjs";

/**
 * A cluster of nodes that send what is in the outbox of a Postgres, `postgres` or a new one. `app` is the URL of a role
 * that may emit.
 */
export async function outboxFor(t, { postgres, url, ours, ...options } = {}) {
  postgres ??= await postgresFor(t);
  await postgres.sql("CREATE ROLE app LOGIN");
  const config = { store: { url: url ?? postgres.url }, inbox: { enabled: true }, outbox: { enabled: true }, ...options };
  const cluster = await Cluster.start(t, { config, ours });
  await postgres.sql("GRANT EXECUTE ON FUNCTION switchboard_emit TO app");
  return { postgres, cluster, app: postgres.urlOf("app") };
}

/** Hears events called `event`, from the first on. */
export function listening(socket, event) {
  const heard = [];
  socket.on(event, (...args) => heard.push(args));
  return heard;
}

/** The values without repetitions, in the order in which each came first. */
export const firsts = (heard) => [...new Set(heard.map(([value]) => value))];

const literal = (value) => `'${JSON.stringify(value).replaceAll("'", "''")}'`;

/** The SQL that emits. */
export const emit = (target, event, args = [], key) =>
  `SELECT switchboard_emit(${literal(target)}, '${event}', ${literal(args)}${key ? `, '${key}'` : ""})`;

/** How many partitions a node has. */
export const held = async (postgres, node) =>
  Number(await postgres.sql(`SELECT count(*) FROM switchboard.outbox_partition WHERE run LIKE '${node} %' AND until > clock_timestamp()`));
