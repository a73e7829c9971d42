/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The agent of a guest whose domain libvirt manages: libvirt has the agent's socket to itself, and passes single commands
 * on. It makes sure by itself that a reply is that of its command. The connection is one of our own, without an event loop:
 * who uses it is a process apart (daemon/guard).
 */
#include "agent.h"

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <string.h>

typedef struct {
  BkAgent agent;
  char *uri, *uuid;
  virConnectPtr connection;
  virDomainPtr domain;
} LibvirtAgent;

static void
ignore_error (void *data G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

static void
hang_up (LibvirtAgent *self)
{
  if (self->domain)
    virDomainFree (self->domain);
  if (self->connection)
    virConnectClose (self->connection);
  self->domain = NULL;
  self->connection = NULL;
}

static int
seconds (unsigned timeout_ms)
{
  return (int)MAX (1, timeout_ms / 1000);
}

/* An agent that is not there must be known before it is told to freeze: this it answers in any state. */
static bool
agent_answers (LibvirtAgent *self, unsigned timeout_ms)
{
  char *text = virDomainQemuAgentCommand (self->domain, "{\"execute\":\"guest-fsfreeze-status\"}", seconds (timeout_ms), 0);
  free (text);
  return text != NULL;
}

static gboolean
libvirt_open (BkAgent *agent, unsigned timeout_ms, GError **error)
{
  LibvirtAgent *self = (LibvirtAgent *)agent;
  hang_up (self);
  self->connection = virConnectOpen (self->uri);
  self->domain = self->connection ? virDomainLookupByUUIDString (self->connection, self->uuid) : NULL;
  if (self->domain && agent_answers (self, timeout_ms))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "cannot reach the guest's agent through libvirt at '%s': %s", self->uri, virGetLastErrorMessage ());
  hang_up (self);
  return FALSE;
}

/* What the agent itself has refused is an answer. */
static bool
is_refusal (const LibvirtAgent *self, const virError *error)
{
  bool refused = error && error->code == VIR_ERR_INTERNAL_ERROR;
  return refused && virConnectIsAlive (self->connection) == 1;
}

static json_object *
refusal (const char *words)
{
  json_object *reply = json_object_new_object ();
  json_object *member = json_object_new_object ();
  json_object_object_add (member, "desc", json_object_new_string (words));
  json_object_object_add (reply, "error", member);
  return reply;
}

static json_object *
libvirt_call (BkAgent *agent, json_object *command, unsigned timeout_ms, GError **error)
{
  LibvirtAgent *self = (LibvirtAgent *)agent;
  if (self->domain == NULL && !libvirt_open (agent, timeout_ms, error))
    return NULL;
  char *text = virDomainQemuAgentCommand (self->domain, json_object_to_json_string (command), seconds (timeout_ms), 0);
  g_autofree char *words = text ? NULL : g_strdup (virGetLastErrorMessage ());
  if (text == NULL && is_refusal (self, virGetLastError ()))
    return refusal (words);
  json_object *reply = text ? bk_json_parse (text, strlen (text), error) : NULL;
  if (text == NULL)
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "libvirt gets no answer from the guest's agent: %s", words);
  free (text);
  return reply;
}

static void
libvirt_free (BkAgent *agent)
{
  LibvirtAgent *self = (LibvirtAgent *)agent;
  hang_up (self);
  g_free (self->uri);
  g_free (self->uuid);
  g_free (self);
}

BkAgent *
bk_agent_libvirt_new (const char *uuid, const char *uri)
{
  static const BkAgentOps ops = { libvirt_open, libvirt_call, libvirt_free };
  LibvirtAgent *self = g_new0 (LibvirtAgent, 1);
  virInitialize ();
  virSetErrorFunc (NULL, ignore_error);
  self->agent.ops = &ops;
  self->uuid = g_strdup (uuid);
  self->uri = g_strdup (uri);
  return &self->agent;
}
