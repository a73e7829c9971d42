/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One connection to an NBD server, for readers and sinks. Several threads may share it, each by a lane of its own (a
 * number): who waits first moves the bytes for all, and what comes back goes to the lane that sent it.
 *
 * Errors of the server are given as errno values with the command; errors of the connection as GErrors (see nbd-reader.h).
 */
#pragma once

#include "bk-error.h"
#include "nbd-address.h"

#include <stdint.h>

typedef struct BkNbdConnection BkNbdConnection;

/* Wakes everybody who waits for any connection that was made with it, for good. */
typedef struct BkNbdInterrupt BkNbdInterrupt;
BkNbdInterrupt *bk_nbd_interrupt_new (void);
void bk_nbd_interrupt_raise (BkNbdInterrupt *interrupt); /* any thread */
void bk_nbd_interrupt_free (BkNbdInterrupt *interrupt);

/* A copy that owns its strings, and the end of it. */
void bk_nbd_address_copy (BkNbdAddress *copy, const BkNbdAddress *address);
void bk_nbd_address_clear (BkNbdAddress *copy);
/* For messages: the URI, or export and socket. (transfer full) */
char *bk_nbd_address_describe (const BkNbdAddress *address);

/* Connects within 10 s, and asks for @contexts (NULL-terminated, or NULL). @interrupt is borrowed. It has one lane. */
BkNbdConnection *bk_nbd_connection_new (const BkNbdAddress *address, const char *const *contexts, BkNbdInterrupt *interrupt, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Nothing may be in flight that somebody still waits for. NULL is allowed. */
void bk_nbd_connection_free (BkNbdConnection *connection);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkNbdConnection, bk_nbd_connection_free)

/* Before others than the maker use it. */
void bk_nbd_connection_set_lanes (BkNbdConnection *connection, unsigned lanes);

uint64_t bk_nbd_connection_size (BkNbdConnection *connection);
uint32_t bk_nbd_connection_block (BkNbdConnection *connection); /* requests must be aligned to it; 1 = any */
size_t bk_nbd_connection_max_request (BkNbdConnection *connection);
gboolean bk_nbd_connection_is_read_only (BkNbdConnection *connection);
gboolean bk_nbd_connection_can_multi (BkNbdConnection *connection);
gboolean bk_nbd_connection_can_zero (BkNbdConnection *connection);
gboolean bk_nbd_connection_can_flush (BkNbdConnection *connection);
gboolean bk_nbd_connection_has_context (BkNbdConnection *connection, const char *context);

typedef enum { BK_NBD_READ, BK_NBD_WRITE, BK_NBD_ZERO, BK_NBD_FLUSH, BK_NBD_STATUS } BkNbdOperation;

/* Pairs of length and flags, for each context of the connection: they begin at @offset. */
typedef void (*BkNbdStatusFunc) (const char *context, uint64_t offset, const uint32_t *entries, size_t n_entries, gpointer user_data);

typedef struct {
  BkNbdOperation operation;
  uint64_t offset, length;
  void *data;             /* read, write: lives until the command is back */
  BkNbdStatusFunc status; /* called in whatever thread moves the bytes, before the command is back */
  gpointer user_data;     /* of it, and what bk_nbd_connection_wait() returns */
} BkNbdCommand;

/* Sends it, or puts it behind what is being sent. @command is copied. */
gboolean bk_nbd_connection_start (BkNbdConnection *connection, unsigned lane, const BkNbdCommand *command, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Waits for one of the lane's commands: its user_data in @tag, and an errno or 0 in @errsv. FALSE: nothing comes back any more. */
gboolean bk_nbd_connection_wait (BkNbdConnection *connection, unsigned lane, gpointer *tag, int *errsv, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Both, when nothing else is in flight on the lane; an errno of the server makes an error. */
gboolean bk_nbd_connection_do (BkNbdConnection *connection, unsigned lane, const BkNbdCommand *command, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* "SERVER: cannot read 4096 bytes at 0: REASON". Always returns FALSE. */
gboolean bk_nbd_connection_set_error (BkNbdConnection *connection, const BkNbdCommand *command, int errsv, GError **error);
