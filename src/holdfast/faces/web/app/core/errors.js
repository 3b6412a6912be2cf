/** What can go wrong, as the Python side says it: a stable code, what happened and still holds, and what to do next. */

export class HoldError extends Error {
  /**
   * @param {string} code stable; programs match on this, never on the text
   * @param {string} message what happened and what still holds
   * @param {string} todo the next step for the reader
   * @param {Record<string, unknown>} details
   */
  constructor(code, message, todo = '', details = {}) {
    super(message);
    this.name = 'HoldError';
    this.code = code;
    this.todo = todo;
    this.details = details;
  }

  get whole() {
    return this.todo ? `${this.message}; ${this.todo}` : this.message;
  }
}

/** The error that the other side named. */
export const revived = (said) => new HoldError(said.code, said.message, said.do ?? '', said.details ?? {});

export const badMessage = (why) =>
  new HoldError('bad-message', `something came that is no message of this protocol: ${why}`,
    'reload the page; if it goes on, page and host are of different versions');
