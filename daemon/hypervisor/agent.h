/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The agent inside a guest (qemu-ga), as far as freezing file systems goes.
 *
 * It speaks JSON, one command and one reply at a time, with no greeting, no events and no IDs, and it may be dead, busy,
 * or lie: what it says comes from the guest. While it is frozen it answers guest-sync, guest-fsfreeze-status and
 * guest-fsfreeze-thaw, and refuses the rest.
 *
 * How commands come to it is a BkAgentOps. Here it is a socket (agent-socket.c), which serves one client at a time; who is
 * second is let in and gets no answer until the first one leaves. A hypervisor that has the socket to itself, as libvirt,
 * passes single commands on (virDomainQemuAgentCommand(), which does its own guest-sync): that is another BkAgentOps, whose
 * address tells the connection and the domain. The user of all this is the thaw guard, a process of its own that gets an
 * address and nothing else (daemon/guard), so that such a backend opens a connection of its own in it.
 *
 * One thread at a time; everything blocks up to its time-out. Errors: UNREACHABLE (nobody answers in time, or what answers
 * is no agent; open again before the next command), FAILED (the agent answered with an error, which is in the message).
 */
#pragma once

#include "bk-json.h"

typedef struct BkAgent BkAgent;

typedef struct {
  /* Connects if need be, and makes sure that the next reply is that of the next command. */
  gboolean (*open) (BkAgent *agent, unsigned timeout_ms, GError **error);
  /* One command, one reply: (transfer full), with a member "return" or "error". UNREACHABLE. */
  json_object *(*call) (BkAgent *agent, json_object *command, unsigned timeout_ms, GError **error);
  void (*free) (BkAgent *agent);
} BkAgentOps;

struct BkAgent {
  const BkAgentOps *ops;
};

/* @address: "unix:PATH", or "libvirt:UUID@URI" for that of a domain of libvirt. Nothing is connected yet. INVALID. */
BkAgent *bk_agent_new (const char *address, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_agent_free (BkAgent *agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkAgent, bk_agent_free)

/* Anew, when it was open. */
gboolean bk_agent_open (BkAgent *agent, unsigned timeout_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;

gboolean bk_agent_is_frozen (BkAgent *agent, bool *frozen, unsigned timeout_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Freezes those of @mounts, or all when there is none (NULL or empty). *@count: file systems that are frozen now. */
gboolean bk_agent_freeze (BkAgent *agent, const char *const *mounts, uint64_t *count, unsigned timeout_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* *@count: file systems that this has thawed; none were frozen any more when it is 0. */
gboolean bk_agent_thaw (BkAgent *agent, uint64_t *count, unsigned timeout_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* For bk_agent_new(): the agent behind a unix socket. */
BkAgent *bk_agent_socket_new (const char *path);
/* Likewise: that of a domain, through libvirt (libvirt-agent.c). */
BkAgent *bk_agent_libvirt_new (const char *uuid, const char *uri);
