/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"
#include "follow.h"

static const BkColumn plan_details[] = {
  { "VM", BK_CELL_TEXT, "vm" },
  { "Mode", BK_CELL_TEXT, "mode" },
  { "Reason", BK_CELL_TEXT, "reason" },
  { "Repository", BK_CELL_TEXT, "repository" },
  { NULL },
};

static const BkColumn plan_columns[] = {
  { "DISK", BK_CELL_TEXT, "name" },
  { "LEVEL", BK_CELL_TEXT, "level" },
  { "SIZE", BK_CELL_SIZE, "size" },
  { "TO COPY", BK_CELL_SIZE, "bytes_estimated" },
  { "SINCE", BK_CELL_TEXT, "base_checkpoint" },
  { "TARGET", BK_CELL_TEXT, "target" },
  { "REASON", BK_CELL_TEXT, "reason" },
  { NULL },
};

static gboolean
dry_run (BkConnection *connection, BkOutput *output, json_object *body, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autoptr (BkPlanInfo) plan = bk_connection_read (connection, "POST", "/v1/jobs", body, &bk_plan_info_struct, &json, error);
  if (plan == NULL)
    return FALSE;
  if (bk_output_is_json (output)) {
    bk_output_json (output, json);
    return TRUE;
  }
  bk_output_details (output, &bk_plan_info_struct, plan, plan_details);
  bk_output_section (output, "Disks", &bk_plan_disk_info_struct, plan->disks, plan_columns);
  return TRUE;
}

static gboolean
start (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  if (bk_args_has (args, "repo") && bk_args_has (args, "target")) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "options '--repo' and '--target' exclude each other");
    return FALSE;
  }
  g_autoptr (json_object) body = bk_args_body (args);
  json_object_object_add (body, "kind", json_object_new_string ("backup"));
  if (bk_args_has (args, "dry-run"))
    return dry_run (connection, output, body, error);
  g_autoptr (json_object) json = bk_connection_call (connection, "POST", "/v1/jobs", body, error);
  return json && bk_follow_started (args, connection, output, json, error);
}

static const BkOption options[] = {
  { "vm", BK_OPTION_TEXT, "NAME", NULL, "vm", true, "the VM" },
  { "disks", BK_OPTION_LIST, "DISK,...", NULL, "disks", false, "some of its disks; otherwise all that are writable" },
  { "mode", BK_OPTION_WORD, NULL, bk_modes, "mode", false, "who moves the data, and how" },
  { "level", BK_OPTION_WORD, NULL, bk_levels, "level", false, "all, or what changed; auto decides disk by disk" },
  { "since", BK_OPTION_TEXT, "CHECKPOINT", NULL, "since", false, "what changed since this checkpoint" },
  { "repo", BK_OPTION_TEXT, "NAME", NULL, "repository", false, "the repository; otherwise 'default'" },
  { "target", BK_OPTION_TARGET, "PATH-OR-NBD-URI", NULL, "target", false, "a file, folder, block device or NBD URI instead" },
  { "format", BK_OPTION_WORD, NULL, bk_formats, "format", false, "of target files" },
  { "id", BK_OPTION_TEXT, "ID", NULL, "id", false, "your own ID for the job: 1-64 of A-Z a-z 0-9 . _ -" },
  { "speed", BK_OPTION_SIZE, "BYTES/S", NULL, "speed", false, "limit: 10M, 1.5G; 0 is none" },
  { "quiesce", BK_OPTION_WORD, NULL, bk_quiesce, "quiesce", false, "freeze the guest's file systems by its agent" },
  { "quiesce-mounts", BK_OPTION_LIST, "PATH,...", NULL, "quiesce_mounts", false, "only these mount points of the guest; otherwise all" },
  { "hook", BK_OPTION_TEXT, "NAME", NULL, "hook", false, "run this program of the daemon's before and after the point in time" },
  { "hook-failure", BK_OPTION_WORD, NULL, bk_hook_failures, "hook_failure", false, "when it fails before: fail, or go on" },
  { "compress", BK_OPTION_FLAG, NULL, NULL, "compress", false, "compress the image; qcow2 only" },
  { "force", BK_OPTION_FLAG, NULL, NULL, "force", false, "overwrite an existing target" },
  { "sync", BK_OPTION_WORD, NULL, bk_syncs, "sync", false, "how much of a disk's backing chain is copied" },
  { "on-source-error", BK_OPTION_WORD, NULL, bk_source_errors, "on_source_error", false, "fail, or pause the job" },
  { "on-target-error", BK_OPTION_WORD, NULL, bk_target_errors, "on_target_error", false, "fail, or pause the job" },
  { "dry-run", BK_OPTION_FLAG, NULL, NULL, "dry_run", false, "show what would be done" },
  { "wait", BK_OPTION_FLAG, NULL, NULL, NULL, false, "follow the job and end with its result" },
  { NULL },
};

const BkCommand bk_start_commands[] = {
  { "start", "back up a VM; prints the job's ID", options, NULL, start },
  { NULL },
};
