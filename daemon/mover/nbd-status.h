/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A metadata context of an NBD export, read from front to back: an answer of the server is kept until it is used up.
 * One thread, one lane.
 */
#pragma once

#include "nbd-connection.h"

typedef struct BkNbdStatus BkNbdStatus;

/* Borrows @connection, which has the @context. (transfer full) */
BkNbdStatus *bk_nbd_status_new (BkNbdConnection *connection, unsigned lane, const char *context);
void bk_nbd_status_free (BkNbdStatus *status);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkNbdStatus, bk_nbd_status_free)

/* The flags at @offset, which never goes back, and how many bytes from there have them (up to @end, or less). Asks
 * the server for no more than up to @end when it has to. */
gboolean bk_nbd_status_get (BkNbdStatus *status, uint64_t offset, uint64_t end, uint32_t *flags, uint64_t *length, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* How far it is known that extents with @flag follow from the offset of the last bk_nbd_status_get() on, with gaps of less than
 * @gap bytes. */
uint64_t bk_nbd_status_reach (const BkNbdStatus *status, uint32_t flag, uint64_t gap);
