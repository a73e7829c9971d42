/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The parts of the QMP client: qmp-client.c (the object, and what workers do with it), qmp-link.c (its connection, which
 * is the main thread's).
 *
 * Who touches what: the socket, its sources, the timer, the wire and the phase belong to the main thread.
 * What workers share with it is below the mutex. Callbacks run without the mutex.
 *
 * A worker puts its requests on the outgoing queue, wakes the main context and waits on the one condition of
 * the client. Its batch lives on its stack: whoever stops waiting takes its calls out of the queues first.
 */
#pragma once

#include "qmp-client.h"
#include "qmp-wire.h"

typedef enum {
  PHASE_IDLE,     /* no socket */
  PHASE_GREETING, /* connected, nothing heard */
  PHASE_NEGOTIATION,
  PHASE_READY,
} BkQmpPhase;

/* What one worker waits for. */
typedef struct {
  BkQmpClient *client;
  unsigned open; /* calls without an answer */
  char *lost;    /* why no more answers will come */
  bool cancelled;
} BkQmpBatch;

/* A command on its way: first in outgoing, then in sent. */
typedef struct {
  uint64_t id;
  BkQmpBatch *batch;    /* NULL: nobody waits any more, its answer is dropped */
  BkQmpCall *call;
  bool oob;
  bool has_fd;
  GString *text;
  size_t done; /* bytes of text that were sent */
} BkQmpRequest;

struct BkQmpClient {
  gatomicrefcount references;
  char *path;
  GMainContext *context;
  GThread *thread;

  /* main thread */
  BkQmpNotify notify;
  BkQmpEvent event;
  gpointer user_data;
  BkQmpPhase phase;
  GSocket *socket;
  GSource *input;
  GSource *output; /* only while there is something to write that did not fit */
  GSource *timer;  /* greeting, negotiation, or the pause between two tries */
  BkQmpWire *wire;
  unsigned retry_ms;

  GMutex mutex;
  GCond changed;
  bool started;
  bool wake_queued;
  bool poked;
  bool has_oob; /* negotiated */
  bool refused; /* nobody listens */
  BkQmpState state;
  char *reason;
  char *version;
  unsigned generation;
  pid_t peer_pid;
  uint64_t last_id;
  GQueue outgoing; /* BkQmpRequest, to be written */
  GQueue sent;     /* BkQmpRequest, to be answered */
  GPtrArray *watches;
  GBytes *kept;
  unsigned kept_generation;
};

struct BkQmpWatch {
  BkQmpClient *client;
  char *prefix;
  bool happened; /* under the client's mutex, as the next */
  bool woken;
};

void bk_qmp_request_free (BkQmpRequest *request);

/* Has the main thread look at the outgoing queue, or at what else has changed. With the mutex; any thread. */
void bk_qmp_link_wake (BkQmpClient *client);
