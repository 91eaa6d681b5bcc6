// A load balancer that is not sticky.

import { once } from "node:events";
import { Agent, createServer, request as httpRequest } from "node:http";
import { pipeline } from "node:stream";

/**
 * A load balancer that knows nothing of sessions: each request goes to the next of the `nodes`, whatever
 * it asks for. It passes over a node that refuses connections. `front.nodes` may be changed while it runs.
 */
export async function roundRobin(t, nodes) {
  const front = { nodes: [...nodes], turn: 0 };
  const agents = new Map(nodes.map((node) => [node, new Agent({ keepAlive: true })]));
  const tunnels = new Set();
  /** Sends the request to the next node that takes it. */
  const forward = (request, body, answered, failed, tries = front.nodes.length) => {
    const node = front.nodes[front.turn++ % front.nodes.length];
    // Who has left in the meantime has no address any more.
    const { remoteAddress } = request.socket;
    const headers = { ...request.headers, ...(remoteAddress && { "x-forwarded-for": remoteAddress }) };
    const options = { port: node.port, host: "127.0.0.1", agent: request.headers.upgrade ? false : agents.get(node), method: request.method, path: request.url, headers };
    const sent = httpRequest(options);
    answered(sent);
    sent.on("error", (error) => {
      if (error.code === "ECONNREFUSED" && tries > 1) forward(request, body, answered, failed, tries - 1);
      else failed(error);
    });
    sent.end(body);
  };
  const server = createServer(async (request, response) => {
    const chunks = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return; // the client has left
    }
    const answered = (sent) => {
      response.on("close", () => response.writableEnded || sent.destroy());
      sent.on("response", (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        pipeline(answer, response, () => {});
      });
    };
    forward(request, Buffer.concat(chunks), answered, () => response.headersSent ? response.destroy() : response.writeHead(502).end());
  });
  server.on("upgrade", (request, client, head) => {
    client.on("error", () => {});
    const answered = (sent) => {
      const pass = (answer, upstream = answer.socket, rest = Buffer.alloc(0)) => {
        const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
        client.write(`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\n${lines}\r\n`);
        if (rest.length) client.write(rest);
        if (head.length) upstream.write(head);
        for (const end of [client, upstream]) tunnels.add(end.on("error", () => {}).on("close", () => tunnels.delete(end)));
        pipeline(client, upstream, client, () => {});
      };
      sent.on("upgrade", pass);
      sent.on("response", (answer) => pass(answer));
    };
    forward(request, undefined, answered, () => client.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
    for (const end of tunnels) end.destroy();
    for (const agent of agents.values()) agent.destroy();
  });
  return Object.assign(front, { port: server.address().port, url: `http://127.0.0.1:${server.address().port}` });
}
