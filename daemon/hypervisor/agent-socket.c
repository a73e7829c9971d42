/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent.h"

#include "agent-wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct {
  BkAgent base;
  char *path;
  int fd; /* -1: not connected */
  BkAgentWire *wire;
} AgentSocket;

static void
disconnect (AgentSocket *self)
{
  if (self->fd >= 0)
    close (self->fd);
  self->fd = -1;
  g_clear_pointer (&self->wire, bk_agent_wire_free);
}

static gboolean
fail (GError **error, const char *message)
{
  g_set_error_literal (error, BK_ERROR, BK_ERROR_UNREACHABLE, message);
  return FALSE;
}

/* --- bytes --- */

static gboolean
wait_for (AgentSocket *self, short events, int64_t deadline, GError **error)
{
  struct pollfd poll_fd = { .fd = self->fd, .events = events };
  int64_t left_us = deadline - g_get_monotonic_time ();
  int n = left_us <= 0 ? 0 : poll (&poll_fd, 1, (int)MIN ((left_us + 999) / 1000, G_MAXINT));
  if (n > 0 || (n < 0 && errno == EINTR))
    return TRUE;
  return fail (error, "the guest agent does not answer: it does not run, the guest is busy, or another program is connected to it");
}

static gboolean
send_all (AgentSocket *self, const GString *text, int64_t deadline, GError **error)
{
  for (size_t sent = 0; sent < text->len;) {
    ssize_t n = send (self->fd, text->str + sent, text->len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      sent += (size_t)n;
      continue;
    }
    if (errno != EAGAIN && errno != EINTR)
      return fail (error, "the connection to the guest agent was cut");
    if (!wait_for (self, POLLOUT, deadline, error))
      return FALSE;
  }
  return TRUE;
}

/* The time-out counts also for a guest that never stops talking. */
static gboolean
receive_some (AgentSocket *self, int64_t deadline, GError **error)
{
  char bytes[16384];
  if (!wait_for (self, POLLIN, deadline, error))
    return FALSE;
  ssize_t n = recv (self->fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (n > 0)
    bk_agent_wire_feed (self->wire, bytes, (size_t)n);
  else if (n == 0 || (errno != EAGAIN && errno != EINTR))
    return fail (error, "the connection to the guest agent was cut");
  return TRUE;
}

/* --- open --- */

/* QEMU takes one client; some more wait in line, and then there is no more room. */
static gboolean
connect_to (AgentSocket *self, GError **error)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  if (strlen (self->path) >= sizeof address.sun_path) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the path '%s' is too long for a socket", self->path);
    return FALSE;
  }
  strcpy (address.sun_path, self->path);
  self->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (self->fd >= 0 && connect (self->fd, (struct sockaddr *)&address, sizeof address) == 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "cannot connect to the guest agent's socket '%s': %s", self->path,
               errno == EAGAIN ? "other programs wait for it, too" : g_strerror (errno));
  return FALSE;
}

static gboolean
synchronise (AgentSocket *self, int64_t deadline, GError **error)
{
  g_autoptr (GString) greeting = NULL;
  self->wire = bk_agent_wire_new (g_random_int ());
  greeting = bk_agent_wire_greeting (self->wire);
  if (!send_all (self, greeting, deadline, error))
    return FALSE;
  while (!bk_agent_wire_is_synced (self->wire))
    if (!receive_some (self, deadline, error))
      return FALSE;
  return TRUE;
}

static gboolean
socket_open (BkAgent *agent, unsigned timeout_ms, GError **error)
{
  AgentSocket *self = (AgentSocket *)agent;
  int64_t deadline = g_get_monotonic_time () + (int64_t)timeout_ms * 1000;
  disconnect (self);
  if (connect_to (self, error) && synchronise (self, deadline, error))
    return TRUE;
  disconnect (self);
  return FALSE;
}

/* --- call --- */

static json_object *
receive_reply (AgentSocket *self, int64_t deadline, GError **error)
{
  json_object *reply = NULL;
  do {
    if (!bk_agent_wire_next (self->wire, &reply, error) || (reply == NULL && !receive_some (self, deadline, error)))
      return NULL;
  } while (reply == NULL);
  return reply;
}

/* A reply that comes too late would be taken for that of the next command: there is none on this connection. */
static json_object *
socket_call (BkAgent *agent, json_object *command, unsigned timeout_ms, GError **error)
{
  AgentSocket *self = (AgentSocket *)agent;
  int64_t deadline = g_get_monotonic_time () + (int64_t)timeout_ms * 1000;
  g_autoptr (GString) text = bk_agent_wire_format (command);
  if (self->fd < 0) {
    fail (error, "the guest agent is not connected");
    return NULL;
  }
  json_object *reply = send_all (self, text, deadline, error) ? receive_reply (self, deadline, error) : NULL;
  if (reply == NULL)
    disconnect (self);
  return reply;
}

static void
socket_free (BkAgent *agent)
{
  AgentSocket *self = (AgentSocket *)agent;
  disconnect (self);
  g_free (self->path);
  g_free (self);
}

static const BkAgentOps socket_ops = { .open = socket_open, .call = socket_call, .free = socket_free };

BkAgent *
bk_agent_socket_new (const char *path)
{
  AgentSocket *self = g_new0 (AgentSocket, 1);
  self->base.ops = &socket_ops;
  self->path = g_strdup (path);
  self->fd = -1;
  return &self->base;
}
