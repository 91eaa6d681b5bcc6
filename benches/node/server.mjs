#!/usr/bin/env node
// The server of examples/bench_server.rs on Node.js, to compare with: `PORT`, `REDIS_URL`,
// `PROTOCOL` (`classic`, `sharded` or `streams`), `RECOVERY`.
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const { PORT = "3000", REDIS_URL, PROTOCOL = "classic", RECOVERY } = process.env;
const options = { serveClient: false };
if (RECOVERY) options.connectionStateRecovery = {};

if (REDIS_URL) {
  const publisher = createClient({ url: REDIS_URL });
  await publisher.connect();
  if (PROTOCOL === "streams") {
    options.adapter = createStreamsAdapter(publisher);
  } else {
    const subscriber = publisher.duplicate();
    await subscriber.connect();
    options.adapter =
      PROTOCOL === "sharded"
        ? createShardedAdapter(publisher, subscriber)
        : createAdapter(publisher, subscriber);
  }
}

const io = new Server(options);

io.use((socket, next) => {
  const { userId, room } = socket.handshake.auth;
  socket.data.userRoom = userId && `user:${userId}`;
  if (userId) socket.join(socket.data.userRoom);
  if (room) socket.join(room);
  next();
});

io.on("connection", (socket) => {
  socket.on("echo", (data, acknowledge) => acknowledge?.(data));
  socket.on("room:emit", ({ room, event, data }) => io.to(room).emit(event, data));
  socket.on("user:emit", ({ userId, event, data }) => io.to(`user:${userId}`).emit(event, data));
  socket.on("events", (data, acknowledge) => {
    (socket.data.userRoom ? io.to(socket.data.userRoom) : socket).emit("events", data);
    acknowledge?.(data);
  });
});

io.listen(Number(PORT));
