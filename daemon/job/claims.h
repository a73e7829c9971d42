/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a job needs for itself or shares, so that jobs do not get in each other's way. Two kinds: a claim that
 * refuses (a disk, an output: a second job is a conflict) and one that waits (the chain of backups of a VM:
 * backups and restores share it, a delete has it alone and waits its turn). Pure; main thread.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct BkClaims BkClaims;

BkClaims *bk_claims_new (void);
void bk_claims_free (BkClaims *claims);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkClaims, bk_claims_free)

/* @key by format: "disk:%s/%s". */
void bk_claims_add_refusing (BkClaims *claims, const char *format, ...) G_GNUC_PRINTF (2, 3);
void bk_claims_add_waiting (BkClaims *claims, bool exclusive, const char *format, ...) G_GNUC_PRINTF (3, 4);

/* The key that both have, one of them refusing, the other that or waiting for it alone; or NULL. */
const char *bk_claims_refused (const BkClaims *a, const BkClaims *b);
/* True when the two must not run at once. */
bool bk_claims_must_wait (const BkClaims *a, const BkClaims *b);
