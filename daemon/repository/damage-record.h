/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the last verify of a backup has found, kept in damage/backups/VM/BACKUP as JSON.
 */
#pragma once

#include "repository-private.h"

typedef struct {
  char *disk; /* or NULL */
  uint64_t offset, length;
  char *reason;
} BkDamageRange;
BK_TYPE (BkDamageRange, bk_damage_range)

typedef struct {
  int64_t verified_at;
  GPtrArray *ranges; /* BkDamageRange; empty: all was right */
} BkDamageRecord;
BK_TYPE (BkDamageRecord, bk_damage_record)

/* NULL when nothing is known. (transfer full) */
BkDamageRecord *bk_damage_record_read (BkRepository *repository, const char *vm, const char *backup);
/* Durably; a failure is logged: verifying again finds the same. */
void bk_damage_record_write (BkRepository *repository, const char *vm, const char *backup, const BkDamageRecord *record);
void bk_damage_record_remove (BkRepository *repository, const char *vm, const char *backup);
