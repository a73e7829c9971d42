/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A scripted QMP server on a unix socket, for what a healthy QEMU never does. The script is a function that runs
 * in a thread of its own, and speaks with the functions below; each waits 20 s at most and fails the test.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

typedef struct BkQmpPeer BkQmpPeer;
typedef void (*BkQmpScript) (BkQmpPeer *peer, gpointer data);

/* Listens when it returns. */
BkQmpPeer *bk_qmp_peer_start (const char *path, BkQmpScript script, gpointer data);
/* Waits for the end of the script. NULL is allowed. */
void bk_qmp_peer_free (BkQmpPeer *peer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkQmpPeer, bk_qmp_peer_free)

/* --- in the script --- */

void bk_qmp_peer_accept (BkQmpPeer *peer);
/* Accepts, greets and answers qmp_capabilities, as QEMU 7.2 does. */
void bk_qmp_peer_greet (BkQmpPeer *peer);
void bk_qmp_peer_close (BkQmpPeer *peer);
/* Waits until the client has closed the connection; what it still sends is dropped. */
void bk_qmp_peer_wait_close (BkQmpPeer *peer);

void bk_qmp_peer_send (BkQmpPeer *peer, const char *text);
/* {"return": VALUE, "id": that of @command} */
void bk_qmp_peer_answer (BkQmpPeer *peer, json_object *command, const char *value);
/* The next command; (transfer full). */
json_object *bk_qmp_peer_receive (BkQmpPeer *peer);
/* Likewise, and its name must be @name, in band or out of it. */
json_object *bk_qmp_peer_expect (BkQmpPeer *peer, const char *name);
/* True when a byte comes in within @milliseconds. */
bool bk_qmp_peer_has_input (BkQmpPeer *peer, int milliseconds);
/* The descriptor that came with the first byte of the last command; -1 when none did. One that comes with any
 * other byte fails the test. */
int bk_qmp_peer_take_fd (BkQmpPeer *peer);
/* Read in blocks from now on, for long commands; descriptors are no longer looked at. */
void bk_qmp_peer_read_blocks (BkQmpPeer *peer);

/* The command's name, "execute" or "exec-oob". */
const char *bk_qmp_command_name (json_object *command);
