/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The commands, one table per file, each ended by a row without a name.
 */
#pragma once

#include "args.h"
#include "connection.h"
#include "output.h"

extern const BkCommand bk_vm_commands[];
extern const BkCommand bk_repo_commands[];
extern const BkCommand bk_start_commands[];
extern const BkCommand bk_job_commands[];
extern const BkCommand bk_backup_commands[];
extern const BkCommand bk_restore_commands[];
extern const BkCommand bk_checkpoint_commands[];
extern const BkCommand bk_verify_commands[];
extern const BkCommand bk_export_commands[];
extern const BkCommand bk_serve_commands[];
extern const BkCommand bk_doctor_commands[];

/* For commands that take something away: "DONE NAME REMARK" is told when that has been done. */
typedef struct {
  const char *collection; /* path */
  const char *operand;    /* that has the name */
  const char *done;
  const char *remark; /* or "" */
} BkCommandDelete;
gboolean bk_command_delete (const BkArgs *args, BkConnection *connection, BkOutput *output, const BkCommandDelete *delete, GError **error) G_GNUC_WARN_UNUSED_RESULT;
