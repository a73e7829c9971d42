/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"

gboolean
bk_command_delete (const BkArgs *args, BkConnection *connection, BkOutput *output, const BkCommandDelete *delete,
                   GError **error)
{
  g_autofree char *path = bk_args_path (args, delete->collection, delete->operand, NULL);
  g_autoptr (json_object) json = bk_connection_call (connection, "DELETE", path, NULL, error);
  if (json == NULL)
    return FALSE;
  if (bk_output_is_json (output))
    bk_output_json (output, json);
  else if (!bk_output_is_quiet (output))
    bk_output_line (output, "%s %s%s", delete->done, bk_args_text (args, delete->operand), delete->remark);
  return TRUE;
}
