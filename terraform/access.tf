# Who may touch it: a role for the pods that read and write data, a smaller one for Dagster's own pods, both by EKS Pod Identity.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  glue = "arn:${data.aws_partition.current.partition}:glue:${var.region}:${data.aws_caller_identity.current.account_id}"

  service_accounts = {
    pipeline = var.pipeline_service_account
    dagster  = var.dagster_service_account
  }

  use_key = {
    Sid      = "LakeKey"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = [aws_kms_key.lake.arn]
  }

  statements = {
    # No s3:DeleteObjectVersion: what a pod deletes or overwrites can be brought back.
    pipeline = [
      {
        Sid      = "LakeBucket"
        Effect   = "Allow"
        Action   = ["s3:GetBucketLocation", "s3:ListBucket"]
        Resource = [aws_s3_bucket.lake.arn]
      },
      {
        Sid      = "LakeObjects"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource = ["${aws_s3_bucket.lake.arn}/${local.lake_prefix}/*", "${aws_s3_bucket.lake.arn}/${local.compute_logs_prefix}/*"]
      },
      {
        # pyiceberg's create_namespace_if_not_exists creates and expects "already exists": without CreateDatabase the first
        # table of each namespace fails. glue:DeleteTable is not granted: nothing in QuantLake drops a table.
        Sid      = "LakeCatalogue"
        Effect   = "Allow"
        Action   = ["glue:CreateDatabase", "glue:CreateTable", "glue:GetDatabase", "glue:GetTable", "glue:GetTables", "glue:UpdateTable"]
        Resource = concat(["${local.glue}:catalog"], [for n in local.namespaces : "${local.glue}:database/${n}"], [for n in local.namespaces : "${local.glue}:table/${n}/*"])
      },
      local.use_key,
    ]

    dagster = [
      {
        Sid       = "ComputeLogsListed"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = [aws_s3_bucket.lake.arn]
        Condition = { StringLike = { "s3:prefix" = ["${local.compute_logs_prefix}/*"] } }
      },
      {
        Sid      = "ComputeLogs"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource = ["${aws_s3_bucket.lake.arn}/${local.compute_logs_prefix}/*"]
      },
      local.use_key,
    ]
  }
}

resource "aws_iam_role" "pod" {
  for_each = local.service_accounts

  name        = "quantlake-${each.key}"
  description = "QuantLake pods of the service account ${var.kubernetes_namespace}/${each.value}."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:RequestTag/eks-cluster-name"           = var.cluster_name
          "aws:RequestTag/kubernetes-namespace"       = var.kubernetes_namespace
          "aws:RequestTag/kubernetes-service-account" = each.value
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "pod" {
  for_each = local.service_accounts

  name   = "quantlake-${each.key}"
  role   = aws_iam_role.pod[each.key].name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements[each.key] })
}

resource "aws_eks_pod_identity_association" "pod" {
  for_each = local.service_accounts

  cluster_name    = var.cluster_name
  namespace       = var.kubernetes_namespace
  service_account = each.value
  role_arn        = aws_iam_role.pod[each.key].arn
}
