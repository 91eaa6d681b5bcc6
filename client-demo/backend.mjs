// What a back end does with Switchboard's admin port: it leaves messages for users.

const ATTEMPTS = 3;
const PATIENCE = 5_000; // for one answer

/** The admin port of a server. `apiKey` is needed if `admin.api_keys` are set there. */
export class BackEnd {
  #url;
  #headers;

  constructor(url, apiKey) {
    this.#url = url;
    this.#headers = { "content-type": "application/json", ...(apiKey && { authorization: `Bearer ${apiKey}` }) };
  }

  /**
   * Leaves a message, and returns its number. An answer that did not come says nothing about the message;
   * the server keeps one of each `id`, so the next attempt makes no second one.
   */
  async keep(user, message) {
    if (!message.id) throw new Error("without an id no attempt could be repeated");
    for (let attempt = 1; ; attempt++) {
      try {
        const { status, body } = await this.#ask(user, { method: "POST", body: JSON.stringify(message) });
        if (status === 202 || status === 200) return body.seq;
        const error = new Error(body.error?.message ?? `the server answered ${status}`);
        error.mayPass = status === 503;
        throw error;
      } catch (error) {
        if (attempt === ATTEMPTS || error.mayPass === false) throw error;
      }
    }
  }

  /** Why no message can be left here, as a sentence; null if one can. */
  async missing() {
    try {
      const { status, body } = await this.#ask("nobody", { method: "GET" });
      if (status === 200) return null;
      if (status === 404) return "This server has no inbox. It needs a store (store.url) and inbox.enabled = true; with --dev it has both.";
      if (status === 401) return "The admin port wants an API key (--api-key).";
      return `The admin port answers ${status}: ${body.error?.message ?? "no reason given"}.`;
    } catch {
      return `Nobody answers at ${this.#url}. Where is the admin port of the server (--admin)?`;
    }
  }

  async #ask(user, options) {
    const url = `${this.#url}/api/v1/users/${encodeURIComponent(user)}/inbox`;
    const answer = await fetch(url, { headers: this.#headers, signal: AbortSignal.timeout(PATIENCE), ...options });
    // Whatever listens there may answer in its own way.
    return { status: answer.status, body: await answer.json().catch(() => ({})) };
  }
}
