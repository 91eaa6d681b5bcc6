vcl 4.1;
# Varnish 6 or newer in front of two nodes, whose `node_id` is n1 and n2. Nothing is cached.
#
# Any node takes any request, and forwards it if another node holds its session. This file saves that way:
# a session id starts with the id of its node, so each request goes there at once.

import directors;

probe ready {
  .url = "/readyz";
  .interval = 1s;
  .timeout = 1s;
  # Two failures in a row, within `drain.grace` (2 s).
  .window = 2;
  .threshold = 1;
  .initial = 1;
}

# A session stays with its node, ready or not: these two have no probe.
backend n1 {
  .host = "10.0.0.11";
  .port = "3000";
  .connect_timeout = 2s;
  # A poll waits for `engine.ping_interval`.
  .first_byte_timeout = 60s;
  .between_bytes_timeout = 60s;
}

backend n2 {
  .host = "10.0.0.12";
  .port = "3000";
  .connect_timeout = 2s;
  .first_byte_timeout = 60s;
  .between_bytes_timeout = 60s;
}

# Whoever comes without a session id may go to any node that is ready.
backend n1_ready {
  .host = "10.0.0.11";
  .port = "3000";
  .connect_timeout = 2s;
  .probe = ready;
}

backend n2_ready {
  .host = "10.0.0.12";
  .port = "3000";
  .connect_timeout = 2s;
  .probe = ready;
}

sub vcl_init {
  new newcomers = directors.round_robin();
  newcomers.add_backend(n1_ready);
  newcomers.add_backend(n2_ready);
}

sub vcl_recv {
  if (req.url ~ "[?&]sid=n1\.") {
    set req.backend_hint = n1;
  } else if (req.url ~ "[?&]sid=n2\.") {
    set req.backend_hint = n2;
  } else {
    set req.backend_hint = newcomers.backend();
  }
  # A websocket is passed through as it is; start varnishd with `-p pipe_timeout=60`, or longer.
  if (req.http.Upgrade ~ "(?i)websocket") {
    return (pipe);
  }
  return (pass);
}

sub vcl_pipe {
  if (req.http.Upgrade) {
    set bereq.http.Upgrade = req.http.Upgrade;
    set bereq.http.Connection = req.http.Connection;
  }
}

sub vcl_backend_response {
  set beresp.do_stream = true;
  # A node that drains or is full sends a newcomer to the next one.
  if (beresp.status == 503 && bereq.retries == 0 && bereq.url !~ "[?&]sid=") {
    return (retry);
  }
}

sub vcl_backend_fetch {
  if (bereq.retries > 0) {
    set bereq.backend = newcomers.backend();
  }
}

sub vcl_backend_error {
  # A node that is gone has not seen the newcomer.
  if (bereq.retries == 0 && bereq.url !~ "[?&]sid=") {
    return (retry);
  }
}
